"""What a trace keeps of its media: kind, size, times and a hash, never the media themselves."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from PIL.Image import Image

    from ...models.chat.prompt import Prompt
    from ...models.media import Audio, Video


def digests(prompt: Prompt) -> list[dict[str, Any]]:
    """Return what there was to see and to hear: pictures, then videos, then sounds.

    Parameters
    ----------
    prompt
        A prompt, ready for the model.

    Returns
    -------
    list of dict
        ``kind`` (``"image"``, ``"video"``, ``"audio"``), its size in pixels or samples, and the ``sha256`` of
        what the model was given: RGB bytes of a picture or of all frames one after the other, or float32
        samples at 16 kHz, little-endian.
    """
    return [
        *(_picture(image) for image in prompt.images),
        *(_video(clip) for clip in prompt.videos),
        *(_sound(recording) for recording in prompt.sounds),
    ]


def _picture(image: Image) -> dict[str, Any]:
    return {"kind": "image", "width": image.width, "height": image.height, "sha256": _hash(image)}


def _video(clip: Video) -> dict[str, Any]:
    width, height = clip.size
    return {
        "kind": "video", "width": width, "height": height, "frames": len(clip.frames), "of": clip.total,
        "times_s": [round(time, 3) for time in clip.times], "sha256": _hash(*clip.frames),
    }  # fmt: skip


def _sound(recording: Audio) -> dict[str, Any]:
    data = recording.samples.astype("<f4").tobytes()
    return {
        "kind": "audio", "samples": len(recording.samples), "rate": 16_000,
        "sha256": hashlib.sha256(data).hexdigest(),
    }  # fmt: skip


def _hash(*images: Image) -> str:
    digest = hashlib.sha256()
    for image in images:
        digest.update(np.asarray(image.convert("RGB")).tobytes())
    return digest.hexdigest()

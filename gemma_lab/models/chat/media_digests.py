"""Digests of media: kind, size, times and a hash, by which a request names its media without keeping them."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import numpy as np

from ..media.audio import SAMPLE_RATE

if TYPE_CHECKING:
    from collections.abc import Iterable

    from PIL.Image import Image

    from ..media import Audio, Video


def digest(kind: str, medium: Any) -> dict[str, Any]:
    """Return the digest of an opened medium.

    Parameters
    ----------
    kind
        ``"image"``, ``"video"`` or ``"audio"``.
    medium
        A PIL image, a `Video` or an `Audio`.

    Returns
    -------
    dict
        ``kind``, the size in pixels, frames or samples, and the ``sha256`` of the model's input: the RGB
        bytes of an image or of all frames in order, or float32 samples at 16 kHz, little-endian.
    """
    if kind == "image":
        return _image(medium)
    return _video(medium) if kind == "video" else _audio(medium)


def _image(image: Image) -> dict[str, Any]:
    return {"kind": "image", "width": image.width, "height": image.height, "sha256": _hash([image])}


def _video(video: Video) -> dict[str, Any]:
    width, height = video.size
    return {
        "kind": "video",
        "width": width,
        "height": height,
        "frames": len(video.frames),
        "of": video.total,
        "times_s": [round(time, 3) for time in video.times],
        "sha256": _hash(video.frames),
    }


def _audio(audio: Audio) -> dict[str, Any]:
    data = audio.samples.astype("<f4").tobytes()
    return {
        "kind": "audio",
        "samples": len(audio.samples),
        "rate": SAMPLE_RATE,
        "sha256": hashlib.sha256(data).hexdigest(),
    }


def _hash(images: Iterable[Image]) -> str:
    result = hashlib.sha256()
    for image in images:
        result.update(np.asarray(image.convert("RGB")).tobytes())
    return result.hexdigest()

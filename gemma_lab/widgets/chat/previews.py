"""Previews of media in a conversation: a thumbnail, frames with their times, a waveform."""

from __future__ import annotations

import base64
import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...views.chat.media import peaks, small_frame
from ..shared.base import sendable

if TYPE_CHECKING:
    from collections.abc import Callable

    from PIL.Image import Image

    from ...models.media import Audio, Video

#: Longest side of an image's thumbnail, in pixels.
THUMBNAIL = 240
#: Most frames of a video that are shown; the model may receive more.
FRAMES = 16


def thumbnail(image: Image) -> str:
    """Return a small copy of `image` as a PNG data URL; tiny images are enlarged without smoothing."""
    from PIL.Image import Resampling

    small = image.copy()
    longest = max(small.size)
    if longest > THUMBNAIL:
        small.thumbnail((THUMBNAIL, THUMBNAIL))
    elif longest <= THUMBNAIL // 2:
        factor = THUMBNAIL // longest
        small = small.resize((small.width * factor, small.height * factor), Resampling.NEAREST)
    buffer = io.BytesIO()
    small.save(buffer, format="PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")


def entry(kind: str, medium: Any, name: str, key: str) -> dict[str, Any]:
    """Return what a view shows of one medium, as JSON values.

    Parameters
    ----------
    kind
        ``"image"``, ``"video"`` or ``"audio"``.
    medium
        A PIL image, a `Video` or an `Audio`.
    name
        Its name.
    key
        Its id in the front end.
    """
    show: dict[str, Callable[[Any], dict[str, Any]]]
    show = {"image": _image, "video": _video, "audio": _audio}
    return {"id": key, "kind": kind, "name": sendable(name), **show[kind](medium)}


def _image(image: Image) -> dict[str, Any]:
    return {"width": image.width, "height": image.height, "src": thumbnail(image)}


def _video(video: Video) -> dict[str, Any]:
    from ...models.media.timeline import sample_indices

    width, height = video.size
    shown = [
        [small_frame(video.frames[number]), round(video.times[number], 2)]
        for number in sample_indices(len(video.frames), FRAMES)
    ]
    return {
        "width": width,
        "height": height,
        "frames": shown,
        "seen": len(video.frames),
        "total": video.total,
    }


def _audio(audio: Audio) -> dict[str, Any]:
    return {"seconds": round(audio.seconds, 2), "peaks": peaks(audio.samples)}


def named(source: Any, kind: str, number: int) -> str:
    """Return the name of a medium: that of its file, or its kind and number."""
    if isinstance(source, str | Path):
        return Path(source).name
    name = str(getattr(source, "name", "") or "")
    return name if name not in ("", "video", "audio", "sound") and kind != "image" else f"{kind} {number}"

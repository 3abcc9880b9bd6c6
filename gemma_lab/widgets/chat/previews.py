"""What stands for a medium in a conversation: a thumbnail, frames with their times, a waveform."""

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

#: Longest side of the thumbnail that stands for a picture in the transcript, in pixels.
THUMBNAIL = 240
#: Most frames of a video that are shown; the model may see more.
FRAMES = 16


def thumbnail(image: Image) -> str:
    """Return a small copy of `image` as a PNG data URL; tiny pictures are enlarged without smoothing."""
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
    """Return what a view needs to show one medium, as plain values.

    Parameters
    ----------
    kind
        ``"image"``, ``"video"`` or ``"audio"``.
    medium
        A PIL image, a `Video` or an `Audio`.
    name
        What it is called.
    key
        What the front end calls it.
    """
    show: dict[str, Callable[[Any], dict[str, Any]]]
    show = {"image": _picture, "video": _video, "audio": _sound}
    return {"id": key, "kind": kind, "name": sendable(name), **show[kind](medium)}


def _picture(image: Image) -> dict[str, Any]:
    return {"width": image.width, "height": image.height, "src": thumbnail(image)}


def _video(video: Video) -> dict[str, Any]:
    from ...models.media.video import sample_indices

    width, height = video.size
    shown = [
        [small_frame(video.frames[number]), round(video.times[number], 2)]
        for number in sample_indices(len(video.frames), FRAMES)
    ]
    return {
        "width": width, "height": height, "frames": shown, "seen": len(video.frames), "total": video.total,
    }  # fmt: skip


def _sound(sound: Audio) -> dict[str, Any]:
    return {"seconds": round(sound.seconds, 2), "peaks": peaks(sound.samples)}


def named(source: Any, kind: str, number: int) -> str:
    """Return what to call a medium: the name of its file, or its kind and number."""
    if isinstance(source, str | Path):
        return Path(source).name
    nouns = {"image": "picture", "video": "video", "audio": "sound"}
    own = str(getattr(source, "name", "") or "")
    return own if own not in ("", "video", "sound") and kind != "image" else f"{nouns[kind]} {number}"

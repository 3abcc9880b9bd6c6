"""Media in the parts of messages: read and checked first, decoded once all messages are known to be valid."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from ..media import Video, load_audio, load_image, load_video
from ..media.sources import rereadable
from .types import Message

_LOADERS: dict[str, Callable[..., Any]] = {"image": load_image, "video": load_video, "audio": load_audio}
_NOUNS = {"image": "image", "video": "video", "audio": "sound"}


class Opening(NamedTuple):
    """Options for opening media: number of frames of a video, and a check that runs before decoding."""

    frames: int | None = None
    check: Callable[[str, Any, dict[str, Any]], None] | None = None


class _Unopened(NamedTuple):
    """A medium that is not decoded yet, and the keywords of its loader."""

    kind: str
    source: Any
    keywords: dict[str, Any]

    def opened(self) -> Any:
        return _LOADERS[self.kind](self.source, **self.keywords)


def unopened(kind: str, source: Any, part: Message, opening: Opening) -> _Unopened:
    """Return the medium of one part; its other keys are the keywords of `load_video` and `load_audio`."""
    keywords: dict[str, Any] = {}
    if kind != "image":
        keywords = {name: part[name] for name in ("start", "stop") if name in part}
    if kind == "audio":
        keywords["rate"] = part.get("rate")
    elif kind == "video":
        keywords["fps"] = part.get("fps")
        default = None if isinstance(source, Video) or "fps" in part else opening.frames
        keywords["frames"] = part.get("frames", default)
    medium = _Unopened(kind, rereadable(source, noun=_NOUNS[kind]), keywords)
    if opening.check is not None:
        opening.check(*medium)
    return medium


def opened(message: Message) -> Message:
    """Return a message with its media decoded, one after the other."""
    if not isinstance(message.get("content"), list):
        return message
    parts = [
        {"type": part["type"], part["type"]: medium.opened()}
        if isinstance(medium := part.get(part["type"]), _Unopened)
        else part
        for part in message["content"]
    ]
    return {**message, "content": parts}

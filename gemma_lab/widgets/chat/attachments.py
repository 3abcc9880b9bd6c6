"""Attachments of the next prompt: received in parts, decoded at once, shown as previews."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

from ...errors import BadMedia
from ..shared.base import sendable
from .previews import entry, named

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

#: Largest file accepted from the browser, in bytes; `gemma_lab.models.media` limits its content.
MAX_BYTES = 50_000_000
_VIDEO = {".mp4", ".m4v", ".mov", ".webm", ".mkv", ".avi", ".mpg", ".mpeg", ".ogv"}
_AUDIO = {".wav", ".mp3", ".m4a", ".aac", ".ogg", ".oga", ".opus", ".flac", ".weba"}


@dataclass(frozen=True, eq=False)
class Attachment:
    """One medium of a prompt: its kind, the medium, and the entry that views show."""

    kind: str
    medium: Any
    entry: dict[str, Any]


def kind_of(name: str, mime: str) -> str:
    """Return ``"image"``, ``"video"`` or ``"audio"`` for a file, by its MIME type or its name."""
    if (major := mime.split("/")[0]) in ("image", "video", "audio"):
        return major
    ending = PurePath(name).suffix.lower()
    return "video" if ending in _VIDEO else "audio" if ending in _AUDIO else "image"


class Attachments:
    """The media of the next prompt.

    Notes
    -----
    A browser sends a file in parts of 2 MB, because the server closes a connection whose message is longer
    than 10 MB.
    """

    def __init__(self) -> None:
        self._ready: dict[str, Attachment] = {}
        self._parts: dict[str, dict[int, bytes]] = {}

    def receive(self, content: dict[str, Any], buffers: Sequence[Any], *, frames: int | None = None) -> bool:
        """Take one part of a file; return whether the file is now complete.

        Parameters
        ----------
        content
            ``id``, ``name``, ``mime``, ``part`` and ``parts``.
        buffers
            The part's bytes.
        frames
            Most frames of a video that the model takes.

        Raises
        ------
        BadMedia
            If the file is too large, or cannot be decoded.
        MissingExtra
            If it needs PyAV, which is not installed.
        """
        key, name = str(content["id"]), str(content.get("name") or "image")
        received = self._parts.setdefault(key, {})
        received[int(content["part"])] = bytes(buffers[0])
        size = sum(map(len, received.values()))
        if size > MAX_BYTES:
            del self._parts[key]
            raise BadMedia(
                f"{name} is larger than {MAX_BYTES // 1_000_000} MB.", hint="Choose a smaller copy."
            )
        if len(received) < int(content["parts"]):
            return False
        del self._parts[key]
        data = b"".join(received[part] for part in sorted(received))
        kind = kind_of(name, str(content.get("mime") or ""))
        try:
            medium = _opened(kind, data, frames)
        except BadMedia as error:
            raise BadMedia(f"{name}: {error.what}", hint=error.hint) from error
        if kind != "image":
            medium = replace(medium, name=sendable(name))
        self.put(Attachment(kind, medium, entry(kind, medium, name, key)))
        return True

    def put(self, attachment: Attachment) -> None:
        """Add a decoded medium."""
        self._ready[attachment.entry["id"]] = attachment

    def remove(self, key: str) -> None:
        """Remove one, if it is there."""
        self._ready.pop(key, None)

    def entries(self) -> list[dict[str, Any]]:
        """Return the entries that views show."""
        return [each.entry for each in self._ready.values()]

    def clear(self) -> None:
        """Remove all."""
        self._ready.clear()

    def all(self) -> list[Attachment]:
        """Return all, in the order they were added."""
        return list(self._ready.values())


def decoded(kind: str, sources: Iterable[Any], *, prefix: str, frames: int | None = None) -> list[Attachment]:
    """Decode sources of one kind.

    Raises
    ------
    BadMedia
        If one cannot be decoded.
    """
    result = []
    for number, source in enumerate(sources, 1):
        medium = _opened(kind, source, frames)
        named_by = source if kind == "image" or not hasattr(medium, "name") else medium
        result.append(
            Attachment(
                kind, medium, entry(kind, medium, named(named_by, kind, number), f"{prefix}{kind}{number}")
            )
        )
    return result


def _opened(kind: str, source: Any, frames: int | None) -> Any:
    from ...models.media import Video, load_audio, load_image, load_video

    if kind == "image":
        return load_image(source)
    if kind == "audio":
        return load_audio(source)
    return load_video(source, frames=None if isinstance(source, Video) else frames)

"""Media on their way into the next turn: received in parts, checked at once, shown as previews."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

from ...errors import BadMedia
from ..shared.base import sendable
from .previews import entry, named

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

#: Largest file taken from the browser, in bytes. What is in it is limited by `gemma_lab.models.media`.
MAX_BYTES = 50_000_000
_VIDEO = {".mp4", ".m4v", ".mov", ".webm", ".mkv", ".avi", ".mpg", ".mpeg", ".ogv"}
_AUDIO = {".wav", ".mp3", ".m4a", ".aac", ".ogg", ".oga", ".opus", ".flac", ".weba"}


@dataclass(frozen=True, eq=False)
class Given:
    """One medium that goes with a question: its kind, itself, and what the views show of it."""

    kind: str
    medium: Any
    entry: dict[str, Any]


def kind_of(name: str, mime: str) -> str:
    """Return ``"image"``, ``"video"`` or ``"audio"`` for a file, by what the browser calls it or its name."""
    if (major := mime.split("/")[0]) in ("image", "video", "audio"):
        return major
    ending = PurePath(name).suffix.lower()
    return "video" if ending in _VIDEO else "audio" if ending in _AUDIO else "image"


class Tray:
    """The media that will go with the next question.

    Notes
    -----
    A browser sends a file in parts of 2 MB, because the server closes a connection whose message is longer
    than 10 MB.
    """

    def __init__(self) -> None:
        self._given: dict[str, Given] = {}
        self._parts: dict[str, dict[int, bytes]] = {}

    def receive(self, content: dict[str, Any], buffers: Sequence[Any], *, frames: int | None = None) -> bool:
        """Take one part of a file; return whether the file is now complete and on the tray.

        Parameters
        ----------
        content
            ``id``, ``name``, ``mime``, ``part`` and ``parts``.
        buffers
            The part's bytes.
        frames
            How many frames of a video the model looks at.

        Raises
        ------
        BadMedia
            If the file is too long, or no medium that can be read.
        MissingExtra
            If it needs PyAV and that is not installed.
        """
        key, name = str(content["id"]), str(content.get("name") or "picture")
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
        self.put(Given(kind, medium, entry(kind, medium, name, key)))
        return True

    def put(self, given: Given) -> None:
        """Put a checked medium on the tray."""
        self._given[given.entry["id"]] = given

    def discard(self, key: str) -> None:
        """Take one off the tray, if it is there."""
        self._given.pop(key, None)

    def entries(self) -> list[dict[str, Any]]:
        """Return what the views show."""
        return [given.entry for given in self._given.values()]

    def take(self) -> list[Given]:
        """Return everything, in the order it was added, and leave the tray empty."""
        taken = list(self._given.values())
        self._given.clear()
        return taken

    def given(self) -> list[Given]:
        """Return everything, in the order it was added."""
        return list(self._given.values())


def checked(kind: str, sources: Iterable[Any], *, prefix: str, frames: int | None = None) -> list[Given]:
    """Return each source of one kind as a checked medium with its entry for the views.

    Raises
    ------
    BadMedia
        If one cannot be read.
    """
    result = []
    for number, source in enumerate(sources, 1):
        medium = _opened(kind, source, frames)
        told = source if kind == "image" or not hasattr(medium, "name") else medium
        result.append(
            Given(kind, medium, entry(kind, medium, named(told, kind, number), f"{prefix}{kind}{number}"))
        )
    return result


def _opened(kind: str, source: Any, frames: int | None) -> Any:
    from ...models.media import Video, load_audio, load_image, load_video

    if kind == "image":
        return load_image(source)
    if kind == "audio":
        return load_audio(source)
    return load_video(source, frames=None if isinstance(source, Video) else frames)

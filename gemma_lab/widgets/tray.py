"""Pictures on their way into the next turn: received in parts, checked at once, shown as thumbnails."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import BadMedia
from .turns import picture_entry

if TYPE_CHECKING:
    from collections.abc import Sequence

    from PIL.Image import Image

#: Largest picture file taken from the browser, in bytes. Pixels are limited by `models.media.picture`.
MAX_BYTES = 50_000_000


class Tray:
    """The pictures that will go with the next question.

    Notes
    -----
    A browser sends a file in parts of 2 MB, because the server closes a connection whose message is longer
    than 10 MB.
    """

    def __init__(self) -> None:
        self._images: dict[str, Image] = {}
        self._entries: dict[str, dict[str, Any]] = {}
        self._parts: dict[str, dict[int, bytes]] = {}

    def receive(self, content: dict[str, Any], buffers: Sequence[Any]) -> bool:
        """Take one part of a file; return whether the file is now complete and on the tray.

        Raises
        ------
        BadMedia
            If the file is too long, or not a picture that can be read.
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
        from ..models.media import picture

        try:
            self.add(key, picture(data), name)
        except BadMedia as error:
            raise BadMedia(f"{name}: {error.what}", hint=error.hint) from error
        return True

    def add(self, key: str, image: Image, name: str) -> None:
        """Put a checked picture on the tray."""
        self._images[key] = image
        self._entries[key] = {"id": key, **picture_entry(image, name)}

    def discard(self, key: str) -> None:
        """Take one picture off the tray, if it is there."""
        self._images.pop(key, None)
        self._entries.pop(key, None)

    def entries(self) -> list[dict[str, Any]]:
        """Return what the views show: id, name, size, thumbnail."""
        return list(self._entries.values())

    def images(self) -> list[Image]:
        """Return the pictures in the order they were added."""
        return list(self._images.values())

    def empty(self) -> None:
        """Take everything off."""
        self._images.clear()
        self._entries.clear()


def checked(sources: Sequence[Any]) -> list[tuple[Image, dict[str, Any]]]:
    """Return each source (path, bytes, picture, array) as a checked picture with its entry for the views.

    Raises
    ------
    BadMedia
        If one cannot be read as a picture.
    """
    from ..models.media import picture

    result = []
    for number, source in enumerate(sources, 1):
        image = picture(source)
        name = Path(source).name if isinstance(source, str | Path) else f"picture {number}"
        result.append((image, picture_entry(image, name)))
    return result

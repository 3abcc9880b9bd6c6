"""The pictures of a prompt in a saved file, as PNG."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

from ...errors import BadMedia
from ...models.media import load_image
from .container import Archive, Writer

if TYPE_CHECKING:
    from PIL.Image import Image

#: Of all images together: 600 MB as RGB.
MAX_PIXELS = 200_000_000
_PNG = b"\x89PNG\r\n\x1a\n"


def write_image(writer: Writer, number: int, image: Image) -> None:
    """Add a picture to a file."""
    sink = io.BytesIO()
    load_image(image).save(sink, format="PNG")  # RGB as the models take it, without the file's own metadata
    writer.add(f"images/{number}.png", sink.getvalue())


def read_images(archive: Archive, count: int) -> tuple[Image, ...]:
    """Return the pictures of a file, in order.

    Raises
    ------
    BadTrace
        If one is not a PNG, or they have too many pixels.
    """
    images, pixels = [], 0
    for number in range(count):
        name = f"images/{number}.png"
        data = archive.read(name)
        width, height = (int.from_bytes(data[at : at + 4], "big") for at in (16, 20))
        pixels += width * height
        if not data.startswith(_PNG) or data[12:16] != b"IHDR" or pixels > MAX_PIXELS:
            raise archive.bad(f"{name} is not a PNG, or its images have more than {MAX_PIXELS / 1e6:.0f} Mpx")
        try:
            images.append(load_image(data))
        except BadMedia as error:
            raise archive.bad(f"{name} cannot be read ({error.what})") from error
    return tuple(images)

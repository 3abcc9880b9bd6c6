"""Metadata of image files: the orientation is used, everything else is ignored, broken or not."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL.Image import Image

_ORIENTATION = 0x0112
_PNG = b"\x89PNG\r\n\x1a\n"
#: PNG chunks that pixels depend on (PNG specification, 3rd edition); the others describe the image.
_PNG_PIXELS = (b"IHDR", b"PLTE", b"IDAT", b"IEND", b"tRNS", b"acTL", b"fcTL", b"fdAT")
#: JPEG segments that only describe the image: APP0 (JFIF), APP1 (EXIF, XMP) to APP13, APP15, and comments.
#: APP14 (Adobe) says how colours are coded.
_JPEG_METADATA = (*range(0xE0, 0xEE), 0xEF, 0xFE)


def orientation_of(image: Image, *, header_only: bool = False) -> int:
    """Return the EXIF (or XMP) orientation of an image, 1 to 8; 1 if there is none or it cannot be read.

    Pillow decodes a PNG to look for EXIF data behind its pixels. With `header_only` it does not.
    """
    if header_only and image.format == "PNG":
        from PIL.Image import Image as PillowImage

        bare = PillowImage()
        bare.info = image.info
        image = bare
    try:
        value = image.getexif().get(_ORIENTATION, 1)
    except Exception:  # Pillow raises many types on broken EXIF data, which an image can do without
        return 1
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def without_metadata(data: bytes) -> bytes | None:
    """Return a JPEG or PNG file without the parts that only describe it; None for other files.

    Pillow refuses some files with a broken profile or comment although their pixels are intact.
    """
    if data.startswith(_PNG):
        return _PNG + b"".join(chunk for kind, chunk in _png_chunks(data) if kind in _PNG_PIXELS)
    if data.startswith(b"\xff\xd8"):
        return _bare_jpeg(data)
    return None


def _png_chunks(data: bytes) -> list[tuple[bytes, bytes]]:
    """Return the chunks of a PNG file: length, type, data and checksum, each with its type before it."""
    chunks, position = [], len(_PNG)
    while position + 12 <= len(data):
        end = position + 12 + int.from_bytes(data[position : position + 4], "big")
        chunks.append((data[position + 4 : position + 8], data[position:end]))
        position = end
    return chunks


def _bare_jpeg(data: bytes) -> bytes:
    parts, position = [data[:2]], 2
    while position + 4 <= len(data) and data[position] == 0xFF and data[position + 1] != 0xDA:
        marker = data[position + 1]
        length = 2 + int.from_bytes(data[position + 2 : position + 4], "big")
        if marker == 0xFF:  # a fill byte
            length = 1
        elif marker not in _JPEG_METADATA:
            parts.append(data[position : position + length])
        position += length
    return b"".join([*parts, data[position:]])  # from the start of the scan on, as it is

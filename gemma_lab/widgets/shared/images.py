"""Pictures on their way to the browser: bytes, never an address."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from PIL.Image import Image

#: Longest side of a picture in the text, in pixels.
LONGEST = 640


def shrunk(image: Image) -> dict[str, Any]:
    """Return the size of a picture, and a copy of at most `LONGEST` pixels as PNG."""
    small = image.convert("RGB")
    small.thumbnail((LONGEST, LONGEST))
    buffer = io.BytesIO()
    small.save(buffer, format="PNG", optimize=True)
    return {"width": image.width, "height": image.height, "bytes": buffer.getvalue()}

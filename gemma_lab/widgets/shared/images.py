"""Images for the browser: sent as bytes, never as an address."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from PIL.Image import Image

#: Longest side of an image that is shown in the text, in pixels.
LONGEST = 640


def image_entry(image: Image) -> dict[str, Any]:
    """Return the size of an image, and a copy of at most `LONGEST` pixels on its longer side as PNG."""
    small = image.convert("RGB")
    small.thumbnail((LONGEST, LONGEST))
    buffer = io.BytesIO()
    small.save(buffer, format="PNG", optimize=True)
    return {"width": image.width, "height": image.height, "bytes": buffer.getvalue()}

"""Images of a prompt with coloured patches."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from PIL.Image import Image

_MAX_SIDE = 420  # pixels of a drawn image


def colour_patches(
    original: Image | None, boxes: NDArray[Any], colours: Sequence[tuple[int, int, int, int]]
) -> Image:
    """Return an image, at most 420 pixels on its longer side, with rectangles over it.

    Parameters
    ----------
    original
        The image; None for a grey sheet of its size, where it was not kept.
    boxes
        Left, top, right, bottom of each patch in pixels of the original, ``[patches, 4]``.
    colours
        Red, green, blue and opacity of each patch, 0 to 255.
    """
    from PIL import Image as Images
    from PIL import ImageDraw

    width, height = (
        original.size if original is not None else (int(boxes[:, 2].max()), int(boxes[:, 3].max()))
    )
    factor = _MAX_SIDE / max(width, height)
    size = (max(1, round(width * factor)), max(1, round(height * factor)))
    smooth = Images.Resampling.LANCZOS if factor < 1 else Images.Resampling.NEAREST
    base = (
        Images.new("RGB", size, "#d5d8dd")
        if original is None
        else original.convert("RGB").resize(size, smooth)
    )
    overlay = Images.new("RGBA", size, (0, 0, 0, 0))
    pen = ImageDraw.Draw(overlay)
    for box, colour in zip(boxes, colours, strict=True):
        left, top, right, bottom = (round(float(side) * factor) for side in box)
        pen.rectangle((left, top, max(left, right - 2), max(top, bottom - 2)), fill=colour)
    return Images.alpha_composite(base.convert("RGBA"), overlay).convert("RGB")

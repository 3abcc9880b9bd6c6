"""Pictures on their way in: opened, checked, turned upright and made plain RGB."""

from __future__ import annotations

import io
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from ...errors import BadMedia
from .sources import is_file, read_file

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: Largest picture that is decoded, in pixels: 300 MB as RGB. A model sees at most 2.6 Mpx (1120 soft tokens).
MAX_PIXELS = 100_000_000

_ACCEPTED = (
    "Give a path, the bytes of a file, an open file, a PIL image or an array (height, width[, channel])."
)


def load_image(source: Any) -> Image.Image:
    """Return a picture as the models take it: RGB, upright, transparent parts on white.

    Parameters
    ----------
    source
        A path, the bytes of an image file, a file open for reading bytes, a PIL image, or an array
        ``(height, width)`` or ``(height, width, channel)`` with 1 to 4 channels (gray, gray and alpha, RGB,
        RGBA): integers 0 to 255, 16-bit unsigned, booleans, or floats 0 to 1. Of an animation the first
        frame is taken.

    Returns
    -------
    PIL.Image.Image
        Mode RGB. Its own copy: the source may change or close afterwards.

    Raises
    ------
    BadMedia
        If there is no such file, it is no picture or a broken one, it is empty or has more than 100 Mpx, or
        the array has another shape or range.
    """
    if isinstance(source, Image.Image):
        return _plain(source, "the PIL image")
    if is_file(source):
        data, what = read_file(source, noun="picture", accepted=_ACCEPTED)
        return _decoded(io.BytesIO(data), what)
    if hasattr(source, "__array__"):
        return _from_array(source)
    raise BadMedia(f"A {type(source).__name__} is no picture.", hint=_ACCEPTED)


def _decoded(file: io.BytesIO, what: str) -> Image.Image:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # checked below, with our limit
            image = Image.open(file)
    except Image.DecompressionBombError as error:
        raise BadMedia(f"{what} is too large: {error}", hint="Scale it down first.") from error
    except UnidentifiedImageError as error:
        raise BadMedia(
            f"{what} is no picture that Pillow can read; it begins with {file.getvalue()[:8]!r}.",
            hint="JPEG, PNG, WebP, GIF, BMP and TIFF work.",
        ) from error
    except (OSError, ValueError, SyntaxError) as error:  # a header that breaks off, or contradicts itself
        raise _broken(what, error) from error
    return _plain(image, what)


def _plain(image: Image.Image, what: str) -> Image.Image:
    width, height = image.size
    if not width or not height:
        raise BadMedia(f"{what} is empty: {width} × {height} pixels.", hint="It needs at least one pixel.")
    if width * height > MAX_PIXELS:
        raise BadMedia(
            f"{what} has {width:,} × {height:,} = {width * height / 1e6:.0f} Mpx; at most "
            f"{MAX_PIXELS / 1e6:.0f} Mpx are decoded.",
            hint="Scale it down first: the largest picture a Gemma 4 sees is about 2.6 Mpx.",
        )
    try:
        return _rgb(ImageOps.exif_transpose(image))
    except (OSError, ValueError, SyntaxError, EOFError) as error:
        raise _broken(what, error) from error


def _broken(what: str, error: Exception) -> BadMedia:
    return BadMedia(f"{what} is broken: {error}.", hint="Fetch or export it again.")


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I") or image.mode == "F":
        return _from_array(np.asarray(image).astype(np.uint16 if image.mode.startswith("I") else np.float32))
    if image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info:
        colours = image.convert("RGBA")
        white = Image.new("RGBA", colours.size, (255, 255, 255, 255))
        return Image.alpha_composite(white, colours).convert("RGB")
    return image.copy() if image.mode == "RGB" else image.convert("RGB")


def _from_array(source: Any) -> Image.Image:
    if hasattr(source, "detach"):  # a torch tensor, wherever it is
        source = source.detach().cpu()
    array = np.asarray(source)
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[:, :, 0]
    if array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] not in (2, 3, 4)):
        hint = "It must be (height, width), or (height, width, channel) with 1 to 4 channels."
        if array.ndim == 3 and array.shape[0] in (1, 3, 4):
            hint = "Channels come last: np.moveaxis(array, 0, -1)."
        elif array.ndim == 4 and array.shape[0] == 1:
            hint = "It is a batch of one: pass array[0]."
        raise BadMedia(f"An array of shape {array.shape} is no picture.", hint=hint)
    height, width = array.shape[:2]
    if height * width > MAX_PIXELS:
        raise BadMedia(
            f"The array has {height * width / 1e6:.0f} Mpx; at most {MAX_PIXELS / 1e6:.0f} Mpx are taken.",
            hint="Scale it down first: array[::2, ::2] halves each side.",
        )
    if not array.size:
        raise BadMedia(f"The array is empty: shape {array.shape}.", hint="It needs at least one pixel.")
    return _plain(Image.fromarray(_eight_bits(array)), "the array")


def _eight_bits(array: NDArray[Any]) -> NDArray[np.uint8]:
    """Return the values as 0 to 255, or say why that cannot be known."""
    if array.dtype == np.uint8:
        return np.ascontiguousarray(array)
    if array.dtype == np.bool_:
        return array.astype(np.uint8) * 255
    if array.dtype == np.uint16:
        return np.round(array / 257).astype(np.uint8)
    if array.dtype.kind not in "iuf":
        raise BadMedia(
            f"An array of {array.dtype} is no picture.", hint="Use uint8 0 to 255, or floats 0 to 1."
        )
    low, high = float(array.min()), float(array.max())
    if not np.isfinite([low, high]).all():
        raise BadMedia(
            "The array holds NaN or infinity.", hint="Use finite floats 0 to 1: np.nan_to_num(array)."
        )
    top = 1.0 if array.dtype.kind == "f" else 255
    if low < 0 or high > top:
        raise BadMedia(
            f"The {array.dtype} array runs from {low:g} to {high:g}; such a picture runs from 0 to {top:g}.",
            hint=f"Scale it: (array - {low:g}) / {high - low:g} gives floats 0 to 1."
            if high > low
            else "Scale it to floats 0 to 1.",
        )
    return np.round(array * (255 / top)).astype(np.uint8)

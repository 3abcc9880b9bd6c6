"""Images: opened, checked, turned upright and converted to RGB."""

from __future__ import annotations

import io
import warnings
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from PIL import Image, UnidentifiedImageError

from ...errors import BadMedia
from .arrays import to_numpy
from .metadata import orientation_of, without_metadata
from .sources import is_file, read_file, read_head

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

Result = TypeVar("Result")

#: Largest image that is decoded, in pixels: 300 MB as RGB. A model sees at most 2.6 Mpx (1120 soft tokens).
MAX_PIXELS = 100_000_000
#: Bytes of a file in which an image's size is looked for before the rest of the file is read.
_HEAD_BYTES = 1 << 18

_ACCEPTED = (
    "Give a path, the bytes of a file, an open file, a PIL image or an array (height, width[, channel])."
)
_SWAPS_SIDES = (5, 6, 7, 8)
#: EXIF orientation → what makes the image upright, as in `PIL.ImageOps.exif_transpose`.
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def load_image(source: Any) -> Image.Image:
    """Return an image as the models take it: RGB, upright, transparent parts on white.

    Parameters
    ----------
    source
        A path, the bytes of an image file, a file open for reading bytes, a PIL image of any mode, or an
        array or tensor ``(height, width)`` or ``(height, width, channel)`` with 1 to 4 channels (gray, gray
        and alpha, RGB, RGBA): integers 0 to 255, unsigned 16-bit, booleans, or floats 0 to 1. Of an animated
        file the first frame is taken.

    Returns
    -------
    PIL.Image.Image
        Mode RGB. Its own copy: the source may change or close afterwards.

    Raises
    ------
    BadMedia
        If there is no such file, it is no image or a broken one, it is empty or has more than 100 Mpx, or
        the array has another shape or range.

    Notes
    -----
    Values of 16-bit arrays and of PIL's modes ``I`` and ``I;16…`` run from 0 to 65,535, unless none is above
    255: then they are taken as 8-bit values that were widened, as Pillow's ``convert`` and numpy's ``astype``
    do. Mode ``F`` runs from 0 to 1 or, if a value is above 1, from 0 to 255, as Pillow's ``convert`` writes.
    EXIF, ICC and XMP data are used for the orientation only; broken ones are ignored.
    """
    if isinstance(source, Image.Image):
        return _from_pil(source, _upright_rgb)
    if is_file(source):
        data, what = read_file(source, noun="image", accepted=_ACCEPTED)
        return _from_bytes(data, what, _upright_rgb)
    if hasattr(source, "__array__") or hasattr(source, "detach"):
        return _from_array(source)
    raise BadMedia(f"A value of type {type(source).__name__} is not an image.", hint=_ACCEPTED)


def image_size(source: Any) -> tuple[int, int]:
    """Return ``(width, height)`` of an image, upright, from its header, without decoding it (TIFF aside).

    An orientation that a PNG has behind its pixels is not seen.

    Parameters
    ----------
    source
        As for `load_image`. An open file is left at its beginning.

    Raises
    ------
    BadMedia
        As `load_image` does for what its header, or the shape of an array, shows. A file whose pixels are
        broken passes here and fails when it is loaded.
    """
    if isinstance(source, Image.Image):
        return _from_pil(source, _upright_size)
    if is_file(source):
        data, what, complete = read_head(source, _HEAD_BYTES, noun="image", accepted=_ACCEPTED)
        try:
            return _from_bytes(data, what, _upright_size)
        except BadMedia:
            if complete:
                raise
        data, what = read_file(source, noun="image", accepted=_ACCEPTED)  # a long thumbnail, or a TIFF
        return _from_bytes(data, what, _upright_size)
    if hasattr(source, "__array__") or hasattr(source, "detach"):
        shape = source.shape if hasattr(source, "shape") else to_numpy(source, noun="image").shape
        height, width = _checked_shape(tuple(shape))
        return width, height
    raise BadMedia(f"A value of type {type(source).__name__} is not an image.", hint=_ACCEPTED)


def on_white(image: Image.Image) -> Image.Image:
    """Return an image of any 8-bit mode as RGB, its transparent parts on white. Always a copy."""
    if image.mode in ("La", "RGBa"):  # premultiplied; Pillow converts these to their plain form only
        image = image.convert(image.mode.upper())
    transparent = image.mode in ("RGBA", "LA", "PA")
    if not transparent and image.mode in ("1", "L", "P", "RGB") and "transparency" in image.info:
        try:
            image, transparent = image.convert("RGBA"), True
        except Exception:  # a transparent colour that the mode cannot have is broken metadata
            image = image.copy()
            del image.info["transparency"]
    if transparent:
        colours = image.convert("RGBA")
        white = Image.new("RGBA", colours.size, (255, 255, 255, 255))
        return Image.alpha_composite(white, colours).convert("RGB")
    return image.copy() if image.mode == "RGB" else image.convert("RGB")


def _from_bytes(data: bytes, what: str, finish: Callable[[Image.Image, str], Result]) -> Result:
    """Open a file and return ``finish(image, what)``; if that fails, try again without its metadata.

    Pillow's decoders raise many types of exception on forged files, so all of them are taken as `BadMedia`.
    """
    try:
        return finish(_opened(data), what)
    except BadMedia:
        raise
    except Exception as error:
        bare = without_metadata(data)
        if bare is not None:
            try:
                return finish(_opened(bare), what)
            except Exception:  # noqa: S110  the first error is the one that is reported
                pass
        raise _unreadable(data, what, error) from error


def _opened(data: bytes) -> Image.Image:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about metadata, and large images: checked against the limit above
        return Image.open(io.BytesIO(data))


def _unreadable(data: bytes, what: str, error: Exception) -> BadMedia:
    if isinstance(error, Image.DecompressionBombError):
        return BadMedia(f"{what} is too large: {error}", hint="Scale it down first.")
    if isinstance(error, UnidentifiedImageError):
        return BadMedia(
            f"{what} is not an image that Pillow can read; it begins with {data[:8]!r}.",
            hint="JPEG, PNG, WebP, GIF, BMP and TIFF work.",
        )
    return BadMedia(f"{what} is broken: {error}.", hint="Download or export it again.")


def _from_pil(image: Image.Image, finish: Callable[[Image.Image, str], Result]) -> Result:
    what = "the PIL image"
    try:
        return finish(image, what)
    except BadMedia:
        raise
    except Exception as error:
        raise BadMedia(
            f"The PIL image cannot be read: {str(error) or type(error).__name__}.",
            hint="If it was closed (`with Image.open(path)` closes it), pass the path, or image.copy() made "
            "inside the block.",
        ) from error


def _upright_rgb(image: Image.Image, what: str) -> Image.Image:
    _check_size(image.size, what)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        image.load()
        turn = _UPRIGHT.get(orientation_of(image))  # after `load`, which turns a TIFF by itself
    rgb = _rgb(image)
    return rgb if turn is None else rgb.transpose(turn)


def _upright_size(image: Image.Image, what: str) -> tuple[int, int]:
    _check_size(image.size, what)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if image.format == "TIFF":  # it turns itself when it is loaded; by release, its size before or then
            image.load()
        turned = orientation_of(image, header_only=True) in _SWAPS_SIDES
    width, height = image.size
    return (height, width) if turned else (width, height)


def _check_size(size: tuple[int, int], what: str) -> None:
    width, height = size
    if not width or not height:
        raise BadMedia(f"{what} is empty: {width} × {height} pixels.", hint="It needs at least one pixel.")
    if width * height > MAX_PIXELS:
        raise BadMedia(
            f"{what} has {width:,} × {height:,} = {width * height / 1e6:.0f} Mpx; at most "
            f"{MAX_PIXELS / 1e6:.0f} Mpx are decoded.",
            hint="Scale it down first: the largest image that a Gemma 4 sees has about 2.6 Mpx.",
        )


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode == "F":
        values = np.asarray(image)
        return _from_array(values / np.float32(255) if 1 < values.max() <= 255 else values)
    if image.mode.startswith("I"):
        values = np.asarray(image)
        fits = values.min() >= 0 and values.max() <= 65_535
        return _from_array(values.astype(np.uint16) if fits else values)
    return on_white(image)


def _from_array(source: Any) -> Image.Image:
    array = to_numpy(source, noun="image")
    _checked_shape(array.shape)
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[:, :, 0]
    return on_white(Image.fromarray(_levels(array)))


def _checked_shape(shape: tuple[int, ...]) -> tuple[int, int]:
    """Return the height and the width of an array, or raise `BadMedia`."""
    if len(shape) not in (2, 3) or (len(shape) == 3 and shape[2] not in (1, 2, 3, 4)):
        hint = "It must be (height, width), or (height, width, channel) with 1 to 4 channels."
        if len(shape) == 3 and shape[0] in (1, 3, 4):
            hint = "Channels come last: np.moveaxis(array, 0, -1)."
        elif len(shape) == 4 and shape[0] == 1:
            hint = "It is a batch of one: pass array[0]."
        raise BadMedia(f"An array of shape {shape} is not an image.", hint=hint)
    height, width = shape[:2]
    _check_size((width, height), f"the array of shape {shape}")
    return height, width


def _levels(array: NDArray[Any]) -> NDArray[np.uint8]:
    """Return the values as 0 to 255; raise `BadMedia` if their scale cannot be known."""
    if array.dtype == np.bool_:
        return array.astype(np.uint8) * 255
    if array.dtype.kind not in "iuf":
        raise BadMedia(
            f"An array of {array.dtype} is not an image.", hint="Use uint8 0 to 255, or floats 0 to 1."
        )
    low, high = float(array.min()), float(array.max())
    if not np.isfinite([low, high]).all():
        raise BadMedia(
            "The array holds NaN or infinity.", hint="Use finite floats 0 to 1: np.nan_to_num(array)."
        )
    floats = array.dtype.kind == "f"
    if array.dtype.itemsize == 2 and array.dtype.kind == "u" and high > 255:
        return np.round(array / 257).astype(np.uint8)
    if low < 0 or high > (1 if floats else 255):
        raise BadMedia(
            f"The {array.dtype} array runs from {low:g} to {high:g}; such an image runs from 0 to "
            f"{1 if floats else 255}.",
            hint=_scaling_hint(low, high, floats=floats),
        )
    return np.round(array.astype(np.float64) * 255).astype(np.uint8) if floats else array.astype(np.uint8)


_FEW_LEVELS = 16


def _scaling_hint(low: float, high: float, *, floats: bool) -> str:
    if floats and low >= 0 and high <= _FEW_LEVELS:  # as scikit-learn's digits, from 0 to 16
        return f"If {high:g} is white, pass array / {high:g}."
    if floats and low >= 0 and high <= 255:
        return "If 255 is white, pass array / 255."
    if low >= 0 and high <= 65_535:
        return "If 65,535 is white, pass array.astype(np.uint16)."
    if floats and low >= -1 and high <= 1:
        return "If it was normalised to −1 to 1, pass (array + 1) / 2."
    if not floats:
        return "Scale the values to 0 to 255."
    return "Undo the normalisation first, so that floats run from 0 (black) to 1 (white)."

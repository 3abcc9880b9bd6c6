"""The colour scale of amounts on a light page: viridis from pale to dark, and images in it."""

from __future__ import annotations

import base64
import io
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from PIL.Image import Image

# 17 points of viridis (Smith and van der Walt 2015): no view loads matplotlib for it.
_VIRIDIS = (
    "440154 481a6c 472f7d 414487 39568c 31688e 2a788e 23888e 1f988b 22a884 35b779 54c568 7ad151 "
    "a5db36 d2e21b f4e61e fde725"
)
_POINTS = np.array([[int(hex6[at : at + 2], 16) for at in (0, 2, 4)] for hex6 in _VIRIDIS.split()], float)
_ZERO = np.array([244, 246, 248], dtype=np.uint8)
# ColorBrewer's PuOr (Brewer 2003), from purple to orange: distinguishable with any colour vision.
_PURPLE_ORANGE = "2d004b 542788 8073ac b2abd2 d8daeb f7f7f7 fee0b6 fdb863 e08214 b35806 7f3b08"
_SIGNED = np.array(
    [[int(hex6[at : at + 2], 16) for at in (0, 2, 4)] for hex6 in _PURPLE_ORANGE.split()], float
)


def amount_colors(amounts: NDArray[Any]) -> NDArray[np.uint8]:
    """Return the colours of amounts in 0…1, ``[…, 3]`` red, green, blue.

    Viridis from green (small) to violet (large), with small amounts paler; 0 is nearly white.
    """
    clipped = np.clip(np.asarray(amounts, dtype=float), 0, 1)
    at = 0.62 * (1 - clipped) * (len(_POINTS) - 1)
    pale = (0.7 * (1 - clipped) ** 1.4)[..., None]
    channels = [np.interp(at, np.arange(len(_POINTS)), _POINTS[:, channel]) for channel in range(3)]
    mixed = np.stack(channels, axis=-1) * (1 - pale) + 255 * pale
    colours: NDArray[np.uint8] = np.rint(mixed).astype(np.uint8)
    colours[clipped <= 0] = _ZERO
    return colours


def signed_colors(values: NDArray[Any]) -> NDArray[np.uint8]:
    """Return the colours of values in −1…1, ``[…, 3]``: purple below 0, nearly white at 0, orange above."""
    at = (np.clip(np.asarray(values, dtype=float), -1, 1) + 1) / 2 * (len(_SIGNED) - 1)
    channels = [np.interp(at, np.arange(len(_SIGNED)), _SIGNED[:, channel]) for channel in range(3)]
    colours: NDArray[np.uint8] = np.rint(np.stack(channels, axis=-1)).astype(np.uint8)
    return colours


def weight_scale_max(weights: NDArray[Any]) -> float:
    """Return the end of a colour scale of weights, their 99 % quantile."""
    return float(max(np.quantile(weights, 0.99), 1e-6)) if weights.size else 1.0


def heat_image(amounts: NDArray[Any], *, cell: tuple[int, int]) -> Image:
    """Return amounts in 0…1 as an image.

    Parameters
    ----------
    amounts
        ``[rows, columns]``.
    cell
        Width and height of one amount in pixels.
    """
    from PIL import Image as Images

    width, height = cell
    return Images.fromarray(amount_colors(amounts).repeat(height, axis=0).repeat(width, axis=1))


def png(image: Image, *, palette: int = 96) -> bytes:
    """Encode an image as a small PNG with a palette; the same image gives the same bytes."""
    from PIL import Image as Images

    buffer = io.BytesIO()
    flat = image.convert("RGB").quantize(palette, dither=Images.Dither.NONE)
    flat.save(buffer, format="PNG", optimize=True)
    return buffer.getvalue()


def png_data_url(image: Image) -> str:
    """Return an image as a data URL."""
    return "data:image/png;base64," + base64.b64encode(png(image)).decode("ascii")

"""The scale of amounts on a light page: viridis from pale to dark, and pictures made of it."""

from __future__ import annotations

import base64
import io
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from PIL.Image import Image

# Seventeen points of viridis (Smith and van der Walt 2015), so that no view loads matplotlib for it.
_VIRIDIS = (
    "440154 481a6c 472f7d 414487 39568c 31688e 2a788e 23888e 1f988b 22a884 35b779 54c568 7ad151 "
    "a5db36 d2e21b f4e61e fde725"
)
_POINTS = np.array([[int(hex6[at : at + 2], 16) for at in (0, 2, 4)] for hex6 in _VIRIDIS.split()], float)
_NOTHING = np.array([244, 246, 248], dtype=np.uint8)


def amounts(gate_weights: NDArray[Any]) -> NDArray[np.uint8]:
    """Return the colours of amounts in 0…1, ``[…, 3]`` red, green, blue.

    Viridis from green (little) to violet (much), small amounts paler so that they recede; 0 is nearly white.
    """
    clipped = np.clip(np.asarray(gate_weights, dtype=float), 0, 1)
    at = 0.62 * (1 - clipped) * (len(_POINTS) - 1)
    white = (0.7 * (1 - clipped) ** 1.4)[..., None]
    channels = [np.interp(at, np.arange(len(_POINTS)), _POINTS[:, channel]) for channel in range(3)]
    mixed = np.stack(channels, axis=-1) * (1 - white) + 255 * white
    colours: NDArray[np.uint8] = np.rint(mixed).astype(np.uint8)
    colours[clipped <= 0] = _NOTHING
    return colours


def heaviest(weights: NDArray[Any]) -> float:
    """Return where a scale of weights ends: 99 % lie below, so that a few do not make the rest pale."""
    return float(max(np.quantile(weights, 0.99), 1e-6)) if weights.size else 1.0


def heat(gate_weights: NDArray[Any], *, cell: tuple[int, int]) -> Image:
    """Return amounts in 0…1 as a picture.

    Parameters
    ----------
    gate_weights
        ``[rows, columns]``.
    cell
        Width and height of one amount in pixels.
    """
    from PIL import Image as Pictures

    wide, tall = cell
    return Pictures.fromarray(amounts(gate_weights).repeat(tall, axis=0).repeat(wide, axis=1))


def png(picture: Image, *, palette: int = 96) -> bytes:
    """Return a picture as a small PNG of so many colours, the same bytes every time."""
    from PIL import Image as Pictures

    buffer = io.BytesIO()
    flat = picture.convert("RGB").quantize(palette, dither=Pictures.Dither.NONE)
    flat.save(buffer, format="PNG", optimize=True)
    return buffer.getvalue()


def data_url(picture: Image) -> str:
    """Return a picture as an address that holds it."""
    return "data:image/png;base64," + base64.b64encode(png(picture)).decode("ascii")

"""The style of every figure: Okabe–Ito colours on a white background, legible on light and dark pages.

Figures are made without pyplot: no global state is set, and a figure is shown once, as the value of its cell.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ...files import write_file

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

OKABE_ITO = {
    "black": "#000000",
    "orange": "#E69F00",
    "sky": "#56B4E9",
    "green": "#009E73",
    "yellow": "#F0E442",
    "blue": "#0072B2",
    "vermillion": "#D55E00",
    "purple": "#CC79A7",
    "grey": "#6E6E6E",
}
"""Colours that are distinguishable with any colour vision (Okabe and Ito 2008), and a neutral grey."""

INK, FAINT = "#222222", "#D9D9D9"
DPI = 144
PALETTES, NEAR = (64, 128, 256), 10
_SHOWN_DPI = 96  # an inch of figure on screen; the PNG has more pixels, for sharp screens

_RC: Any = {
    "font.family": "DejaVu Sans",  # comes with matplotlib, so that every machine draws the same
    "font.size": 9.5,
    "axes.titlesize": 11,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.edgecolor": "#8A8A8A",
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.labelcolor": INK,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "legend.frameon": False,
    "hatch.linewidth": 0.8,
    "figure.facecolor": "white",
    "axes.facecolor": "white",
}


class Plot:
    """A finished figure with a description.

    Parameters
    ----------
    figure
        The matplotlib figure, also available as `Plot.figure`.
    text
        Description in a sentence or two: its form in terminals, for screen readers and in comparisons.
    """

    def __init__(self, figure: Figure, *, text: str) -> None:
        self.figure = figure
        self.text = text

    def __repr__(self) -> str:
        return f"Plot({self.text})"

    def png(self) -> bytes:
        """Encode the figure as PNG; the same figure gives the same bytes.

        It has a palette that covers the range of colours, so that small marks keep theirs: the smallest of
        `PALETTES` by which no value is more than `NEAR` of 255 off.
        """
        import matplotlib as mpl
        from PIL import Image, ImageChops

        drawn, packed = io.BytesIO(), io.BytesIO()
        with mpl.rc_context(_RC):
            self.figure.savefig(drawn, format="png", dpi=DPI)
        with Image.open(drawn) as image:
            full = image.convert("RGB")
        for colours in PALETTES:
            flat = full.quantize(colours, method=Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE)
            if np.asarray(ImageChops.difference(full, flat.convert("RGB"))).max() <= NEAR:
                break
        flat.save(packed, format="png", optimize=True)
        return packed.getvalue()

    def save(self, path: str | Path) -> Path:
        """Write the figure as PNG and return its path; raise `LabError` if it cannot be written."""
        return write_file(path, self.png(), example='plot.save("load.png")')

    def _repr_mimebundle_(self, **_: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        width, height = (round(inches * _SHOWN_DPI) for inches in self.figure.get_size_inches())
        shape = {"width": width, "height": height, "needs_background": "light", "alt": self.text}
        return {"image/png": self.png(), "text/plain": repr(self)}, {"image/png": shape}


@contextmanager
def new_figure(width: float, height: float, **layout: Any) -> Iterator[tuple[Figure, Any]]:
    """Open a new figure in the common style; yields it and its axes (as ``Figure.subplots`` returns them).

    Parameters
    ----------
    width, height
        Inches.
    **layout
        For ``Figure.subplots``: ``nrows``, ``ncols``, ``gridspec_kw``, ….
    """
    import matplotlib as mpl
    from matplotlib.figure import Figure

    with mpl.rc_context(_RC):
        figure = Figure(figsize=(width, height), layout="constrained")
        yield figure, figure.subplots(**layout)


def hide_frame(axes: Axes, *, keep: str = "") -> None:
    """Hide the frame of axes, except the sides named in `keep`, e.g. ``"bottom"``."""
    for side, spine in axes.spines.items():
        spine.set_visible(side in keep)

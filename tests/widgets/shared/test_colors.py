"""The colour scale of the front end is that of the static views, and both are matplotlib's viridis."""

from __future__ import annotations

import re
from pathlib import Path

import matplotlib as mpl
import numpy as np

from gemma_lab.views.base.colors import _VIRIDIS

COLORS = Path(__file__).parents[3] / "gemma_lab" / "widgets" / "js" / "shared" / "colors.js"


def test_both_languages_have_the_same_seventeen_points_of_viridis() -> None:
    source = COLORS.read_text(encoding="utf-8")
    points = re.findall(r'"([0-9a-f]{6})"', source[: source.index(".map(")])
    assert points == _VIRIDIS.split()
    viridis = mpl.colormaps["viridis"](np.linspace(0, 1, 256), bytes=True)[:, :3].astype(int)
    values = np.array([[int(point[at : at + 2], 16) for at in (0, 2, 4)] for point in points])
    distances = np.abs(values[:, None] - viridis[None]).max(axis=-1)
    assert distances.min(axis=1).max() <= 3
    assert (np.diff(distances.argmin(axis=1)) > 0).all()

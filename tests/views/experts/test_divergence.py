"""The picture has a row a language, and marks what is no more than chance."""

from __future__ import annotations

import numpy as np
import pytest

from gemma_lab.analysis.experts.divergence import RoutingDivergence
from gemma_lab.views.experts.divergence import routing_divergence_figure


@pytest.fixture
def apart() -> RoutingDivergence:
    bits = np.zeros((2, 3, 3))
    bits[:, 0, 1] = bits[:, 1, 0] = [0.3, 0.5]
    bits[:, 0, 2] = bits[:, 2, 0] = [0.4, 0.4]
    bits[:, 1, 2] = bits[:, 2, 1] = [0.05, 0.2]
    limit = np.full_like(bits, 0.1)
    return RoutingDivergence(
        layers=(3, 4), labels=("ar", "de", "en"), sizes=np.asarray([9, 9, 9]),
        loads=np.full((3, 2, 4), 0.25), bits=bits, by_chance=limit / 2,
        limit=limit, permutations=100, seed=0, unit="group",
    )  # fmt: skip


def test_rows_run_from_the_nearest_to_the_farthest_language(apart):
    axes = routing_divergence_figure(apart, "en").figure.axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["de", "ar"]
    np.testing.assert_allclose(axes.images[0].get_array(), [[0.05, 0.2], [0.4, 0.4]])


def test_chance_is_crossed_out(apart):
    (crosses,) = routing_divergence_figure(apart, "en").figure.axes[0].lines
    assert list(zip(crosses.get_xdata(), crosses.get_ydata(), strict=True)) == [(0, 0)]


def test_the_text_names_both_ends(apart):
    assert routing_divergence_figure(apart, "en").text == (
        "Divergence of routing from en, mean over 2 layers: nearest de 0.125 bits, farthest ar 0.400 bits; "
        "1 of 4 cells within chance"
    )

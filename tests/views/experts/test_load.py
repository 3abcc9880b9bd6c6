"""The picture of the loads shows every expert of every layer."""

from __future__ import annotations

import numpy as np
import pytest

from gemma_lab.analysis.experts.load import ExpertLoad
from gemma_lab.views.experts.load import expert_load_figure


@pytest.fixture
def loads() -> ExpertLoad:
    counts = np.random.default_rng(0).multinomial(400, np.ones(32) / 32, size=3)
    counts[1] = 0
    counts[1, :2] = 200
    return ExpertLoad(
        layers=(2, 5, 8), tokens=100, top_k=4, counts=counts, mass=counts / 4.0,
        router_entropy=np.ones(3), expert_output_fraction=np.ones(3),
    )  # fmt: skip


def test_cells_are_loads_against_the_mean_and_bars_are_gini(loads):
    heat, side, bar = expert_load_figure(loads).figure.axes
    np.testing.assert_allclose(heat.images[0].get_array(), loads.counts / 12.5)
    assert [label.get_text() for label in heat.get_yticklabels()] == ["2", "5", "8"]
    np.testing.assert_allclose([patch.get_width() for patch in side.patches], loads.gini)
    assert bar.get_ylabel() == "load ÷ the layer's mean"


def test_the_text_names_the_most_uneven_layer(loads):
    text = expert_load_figure(loads).text
    for number in ("32 experts", "3 layers", "100 tokens", "16.0 ×", "layer 5 (Gini 0.94)"):
        assert number in text

"""The figures of pairs of experts and of overlaps draw the numbers of their results."""

from __future__ import annotations

import numpy as np
import pytest
from support.routing_traces import arabic_trace

import gemma_lab as gl
from gemma_lab.views.experts.overlap import (
    coactivation_figure,
    routing_overlap_figure,
    routing_stability_figure,
)


@pytest.fixture(scope="module")
def routings():
    return [arabic_trace(seed=seed).routing for seed in (0, 1, 2)]


def test_the_strongest_pairs_have_observed_and_expected_counts(routings):
    data = gl.analysis.coactivation(routings[0])
    plot = coactivation_figure(data, count=5)
    axes = plot.figure.axes[0]
    assert [bar.get_width() for bar in axes.patches] == [pair[3] for pair in data.top(5)]
    np.testing.assert_allclose(axes.lines[0].get_xdata(), [pair[4] for pair in data.top(5)])
    assert f"layer {data.top(1)[0][0]}" in plot.text


def test_an_overlap_has_a_line_per_measure(routings):
    data = gl.analysis.routing_overlap(*routings[:2])
    lines = routing_overlap_figure(data).figure.axes[0].lines
    for line, values in zip(lines, (data.load, data.experts, data.aligned), strict=True):
        np.testing.assert_allclose(line.get_ydata(), values)


def test_stability_marks_significant_layers(routings):
    data = gl.analysis.routing_stability([routings[:2], routings[2:]], permutations=30)
    plot = routing_stability_figure(data)
    within, between, stars = plot.figure.axes[0].lines
    np.testing.assert_allclose(within.get_ydata(), data.within)
    np.testing.assert_allclose(between.get_ydata(), data.between)
    assert len(stars.get_xdata()) == int((data.p <= 0.05).sum())

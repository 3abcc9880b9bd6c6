"""The dot plot holds every published figure, better always to the right."""

from __future__ import annotations

from gemma_lab.family.published import MODELS, published
from gemma_lab.views.family.benchmarks import benchmarks_figure


def test_every_figure_is_a_dot() -> None:
    figure = benchmarks_figure().figure
    drawn = [
        x
        for axes in figure.axes
        for line in axes.lines
        if line.get_marker() != "None"
        for x in line.get_xdata()
    ]
    expected = [score for row in published() for score in row.scores.values()]
    assert sorted(drawn) == sorted(expected)


def test_lower_is_better_runs_to_the_right() -> None:
    figure = benchmarks_figure().figure
    lower = {row.name for row in published() if row.better == "lower"}
    for axes in figure.axes:
        names = [label.get_text() for label in axes.get_yticklabels()]
        assert axes.xaxis_inverted() == bool(lower.intersection(names)), names


def test_models_differ_in_colour_and_in_marker() -> None:
    lines = [line for line in benchmarks_figure().figure.axes[0].lines if line.get_label() in MODELS]
    assert (
        len({line.get_color() for line in lines}) == len({line.get_marker() for line in lines}) == len(MODELS)
    )

"""A paired comparison is four bars."""

from __future__ import annotations

from gemma_lab.evals.statistics import PairedAnswers
from gemma_lab.views.evals.paired import paired_figure


def test_each_outcome_has_a_bar():
    plot = paired_figure(PairedAnswers(10, 1, 5, 2))
    assert [bar.get_width() for bar in plot.figure.axes[0].patches] == [10, 1, 5, 2]
    assert "0.22" in plot.text

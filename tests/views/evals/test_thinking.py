"""Each way of asking has its own marks, group by group."""

from __future__ import annotations

import pytest

from gemma_lab.views.evals.thinking import thinking_figure


def test_shares_and_tokens_are_those_of_the_answers():
    groups = ["2 terms", "3 terms", "2 terms", "3 terms"]
    picture = thinking_figure(
        groups, off=[True, False, False, False], on=[True, True, True, False],
        tokens=([2, 2, 2, 2], [20, 30, 20, 30]), model="mini-x",
    )  # fmt: skip
    right, cost = picture.figure.axes
    dots = [float(line.get_ydata()[0]) for line in right.lines if len(line.get_ydata()) == 1]
    assert dots == pytest.approx([50, 0, 100, 50])
    assert [bar.get_width() for bar in cost.patches] == [2, 25]
    assert [text.get_text() for text in right.get_legend().get_texts()] == ["thinking off", "thinking on"]
    assert "1/4" in picture.text
    assert "3/4" in picture.text

"""The cost of languages, drawn."""

from __future__ import annotations

import pytest

from gemma_lab.errors import LabError
from gemma_lab.views.evals.languages import language_cost_figure

COSTS = {
    "one": {"English": [4, 6], "Thai": [8, 30], "German": [4, 7]},
    "two": {"English": [2, 3], "Thai": [4, 6], "German": [2, 3]},
}


def test_rows_are_sorted_and_ratios_are_of_the_sums():
    picture = language_cost_figure(COSTS, reference="English")
    axes = picture.figure.axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["English", "German", "Thai"]
    marks = [line for line in axes.lines if line.get_marker() == "o"]
    assert [float(mark.get_xdata()[0]) for mark in marks] == pytest.approx([1.0, 1.1, 3.8])
    assert picture.text == (
        "Tokens for the same sentences, English = 1. one: from 1.00 (English) to 3.80 (Thai); "
        "two: from 1.00 (English) to 2.00 (Thai)."
    )


def test_a_reference_that_is_missing_is_told():
    with pytest.raises(LabError, match="the reference 'Latin'"):
        language_cost_figure(COSTS, reference="Latin")

"""Wilson's interval and McNemar's test agree with published values and with counting by hand."""

from __future__ import annotations

import pytest

from gemma_lab.evals.statistics import PairedAnswers, mcnemar_test, wilson_interval


def test_the_interval_is_wilsons():
    low, high = wilson_interval(8, 10)
    assert (round(low, 4), round(high, 4)) == (0.4902, 0.9433)
    assert wilson_interval(0, 20)[0] == 0


def test_pairs_are_counted_question_by_question():
    result = mcnemar_test([True, True, False, False, False], [True, False, True, True, False])
    assert result == PairedAnswers(both=1, first=1, second=2, neither=1)
    assert repr(result).startswith("PairedAnswers(5 questions")
    with pytest.raises(ValueError, match="shorter"):
        mcnemar_test([True, True], [True])


@pytest.mark.parametrize(
    ("first", "second", "p"),
    [(0, 0, 1.0), (0, 5, 2 / 32), (1, 5, 2 * 7 / 64), (3, 3, 1.0), (0, 40, 2 / 2**40)],
)
def test_the_test_is_exact(first, second, p):
    assert PairedAnswers(10, first, second, 2).p_value == pytest.approx(p)
    assert PairedAnswers(10, second, first, 2).p_value == pytest.approx(p)

"""The sign test agrees with counting by hand."""

from __future__ import annotations

import pytest

from gemma_lab.evals.paired import Paired, paired


def test_pairs_are_counted_question_by_question():
    found = paired([True, True, False, False, False], [True, False, True, True, False])
    assert found == Paired(both=1, first=1, second=2, neither=1)
    assert repr(found) == (
        "Paired(5 questions: both right 1, only the first 1, only the second 2, neither 1; p = 1)"
    )
    with pytest.raises(ValueError, match="argument 2 is shorter"):
        paired([True, True], [True])


@pytest.mark.parametrize(
    ("first", "second", "p"),
    [(0, 0, 1.0), (0, 5, 2 / 32), (1, 5, 2 * 7 / 64), (3, 3, 1.0), (0, 40, 2 / 2**40)],
)
def test_the_sign_test_is_exact(first, second, p):
    assert Paired(10, first, second, 2).p_value == pytest.approx(p)
    assert Paired(10, second, first, 2).p_value == pytest.approx(p)

"""Intervals of proportions, and a paired test of two series of answers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from ..display import Displayed


def wilson_interval(successes: int, trials: int) -> tuple[float, float]:
    """Return the 95 % Wilson score interval of a proportion (E. B. Wilson 1927, JASA 22:209).

    Raises
    ------
    ZeroDivisionError
        If there are no trials.
    """
    z, proportion = 1.959964, successes / trials
    denominator = 1 + z * z / trials
    center = (proportion + z * z / (2 * trials)) / denominator
    half = z * math.sqrt(proportion * (1 - proportion) / trials + z * z / (4 * trials * trials)) / denominator
    return max(0.0, center - half), min(1.0, center + half)


@dataclass(frozen=True)
class PairedAnswers(Displayed):
    """Contingency table of two series of answers to the same questions.

    Attributes
    ----------
    both, first, second, neither
        Number of questions answered correctly by both, only by the first, only by the second, by neither.
    """

    both: int
    first: int
    second: int
    neither: int

    @property
    def p_value(self) -> float:
        """P value of the exact two-sided McNemar test (Q. McNemar 1947, Psychometrika 12:153).

        A sign test on the questions that exactly one of the two answered correctly; 1 if there are none.
        """
        discordant, fewer = self.first + self.second, min(self.first, self.second)
        tail: float = sum(math.comb(discordant, k) for k in range(fewer + 1)) / 2**discordant
        return min(1.0, 2 * tail)

    def to_pandas(self) -> object:
        """Return the two-by-two table as a frame: rows are the first series, columns the second."""
        import pandas as pd

        columns = {"second correct": [self.both, self.second], "second wrong": [self.first, self.neither]}
        return pd.DataFrame({"": ["first correct", "first wrong"], **columns})

    def __repr__(self) -> str:
        asked = self.both + self.first + self.second + self.neither
        return (
            f"PairedAnswers({asked} questions: both correct {self.both}, only the first {self.first}, only "
            f"the second {self.second}, neither {self.neither}; p = {self.p_value:.2g})"
        )


def mcnemar_test(first: Sequence[bool], second: Sequence[bool]) -> PairedAnswers:
    """Compare two series of answers to the same questions with McNemar's exact test.

    Parameters
    ----------
    first, second
        Whether each answer is correct; both in the same order of questions.

    Raises
    ------
    ValueError
        If their lengths differ.

    Examples
    --------
    >>> mcnemar_test([True, True, False], [True, False, False]).p_value
    1.0
    """
    pairs = list(zip(first, second, strict=True))
    outcomes = ((True, True), (True, False), (False, True), (False, False))
    return PairedAnswers(*(pairs.count(outcome) for outcome in outcomes))

"""Two ways of asking the same questions, compared question by question."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Paired:
    """How two series of answers to the same questions differ.

    Attributes
    ----------
    both, first, second, neither
        Questions that both got right, only the first, only the second, neither.
    """

    both: int
    first: int
    second: int
    neither: int

    @property
    def p_value(self) -> float:
        """How likely so uneven a split is if neither way were better: the exact two-sided sign test.

        On the questions that only one of the two got right (Q. McNemar 1947, Psychometrika 12:153); 1 when
        there are none.
        """
        uneven, fewer = self.first + self.second, min(self.first, self.second)
        tail: float = sum(math.comb(uneven, k) for k in range(fewer + 1)) / 2**uneven
        return min(1.0, 2 * tail)

    def __repr__(self) -> str:
        asked = self.both + self.first + self.second + self.neither
        return (
            f"Paired({asked} questions: both right {self.both}, only the first {self.first}, only the second "
            f"{self.second}, neither {self.neither}; p = {self.p_value:.2g})"
        )


def paired(first: Sequence[bool], second: Sequence[bool]) -> Paired:
    """Compare two series of right and wrong answers to the same questions, in the same order.

    Raises
    ------
    ValueError
        If they are not of one length.
    """
    pairs = list(zip(first, second, strict=True))
    return Paired(
        *(pairs.count(kind) for kind in ((True, True), (True, False), (False, True), (False, False)))
    )

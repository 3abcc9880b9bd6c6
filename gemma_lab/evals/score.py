"""Accuracy of a skill with its interval."""

from __future__ import annotations

from dataclasses import dataclass

from .statistics import wilson_interval


@dataclass(frozen=True)
class Score:
    """Accuracy of a skill, or of one group of it.

    Attributes
    ----------
    name
        Of the skill or group.
    asked, right
        Number of questions, and of correct answers.
    chance
        Accuracy of guessing, 0 to 1 (`gemma_lab.evals.chance_accuracy`); None if unknown.
    """

    name: str
    asked: int
    right: int
    chance: float | None = None

    @property
    def accuracy(self) -> float:
        """Fraction of correct answers, 0 to 1."""
        return self.right / self.asked

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % Wilson interval of `accuracy`."""
        return wilson_interval(self.right, self.asked)

"""Stages of a training: which skills are in focus when, and the learning rate.

A new mini is trained in one run: its encoders first, then all skills, which become harder as they are
learned, and in the last stage those skills that need exact copies, while the others are rehearsed.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

_COPIES = ("tools", "records")  # skills of the last stage: one wrong token spoils their answers
_LAST = 0.15  # share of the budget of the last stage
_RATE_AGAIN, _RATE_LAST = 0.5, 0.3  # peak learning rates: from an earlier mini, in the last stage
_STABLE = 0.6  # share of a stage at its peak rate; a cosine to 2 % of it follows


@dataclass(frozen=True)
class Stage:
    """A part of the budget.

    Attributes
    ----------
    name
        ``"all"`` or ``"focus"``.
    start, end
        Fractions of the budget, 0 to 1.
    rate
        Peak learning rate, as a share of a new mini's.
    focus
        Skills that get a third of the rows of every step.
    """

    name: str
    start: float
    end: float
    rate: float
    focus: tuple[str, ...] = ()

    def fraction(self, progress: float) -> float:
        """Return how much of the stage is over, 0 to 1, from the fraction of the budget that is spent."""
        return min(1.0, max(0.0, (progress - self.start) / (self.end - self.start)))

    def learning_rate(self, progress: float) -> float:
        """Return the learning rate without warm-up, as a share of a new mini's peak."""
        late = max(0.0, self.fraction(progress) - _STABLE) / (1 - _STABLE)
        return self.rate * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * late)))


def stages(
    skills: tuple[str, ...], *, focus: tuple[str, ...] = (), rate: float | None = None, again: bool = False
) -> tuple[Stage, ...]:
    """Return the stages of a training, in order; together they fill the budget.

    Parameters
    ----------
    skills
        The trained skills.
    focus
        Skills in focus from the start; there is no other stage then.
    rate
        Peak learning rate of the first stage. Default: 1, and 0.5 from an earlier mini.
    again
        Whether it starts from an earlier mini, which went through the last stage already.
    """
    first = rate if rate is not None else _RATE_AGAIN if again else 1.0
    if focus:
        return (Stage("focus", 0.0, 1.0, first, focus),)
    copies = tuple(skill for skill in _COPIES if skill in skills)
    if again or not copies or copies == skills:
        return (Stage("all", 0.0, 1.0, first),)
    return (
        Stage("all", 0.0, 1 - _LAST, first),
        Stage("focus", 1 - _LAST, 1.0, first * _RATE_LAST, copies),
    )

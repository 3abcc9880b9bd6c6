"""Mixture of skills in a training step, in proportion to their losses."""

from __future__ import annotations

import itertools
import random
from collections import Counter

from .running_loss import record

_KEEP = 0.97  # share of the running loss that a step keeps
_LEAST, _MOST = 0.05, 2.0  # bounds of a skill's running loss as a weight; the second until it was practised
# Losses are means of tokens: one wrong token spoils an answer of many, and hardly shows. Of comparisons only
# the first answer needs both pictures.
_LONGER = {"thinking": 0.15, "tools": 0.15, "records": 0.12, "recall": 0.12, "compare": 0.2}
# A sum that is answered at once stays a guess: its loss would take a third of all rows for ever.
_FIXED = {"arithmetic": 0.15}
_FOCUS = 3  # one row in so many is of a skill in focus


class Mixture:
    """Draws a step's rows among skills in proportion to their running losses.

    Learned skills keep a small share, so that they are not forgotten. Sums without thinking have a fixed
    weight.

    Parameters
    ----------
    skills
        The trained skills.
    rows
        Rows of one step.
    focus
        Skills that share a third of the rows of every step, whatever their loss. The others are drawn evenly
        then: with rows by their small losses, names fell from 99.5 % to 96.5 % in 430 steps.

    Attributes
    ----------
    losses
        Skill → running loss in nats per token, of skills trained so far.
    """

    def __init__(self, skills: tuple[str, ...], *, rows: int, focus: tuple[str, ...] = ()) -> None:
        self.skills, self.rows, self.focus = skills, rows, focus
        self.losses: dict[str, float] = {}

    def loss(self, skill: str) -> float:
        """Return a skill's running loss, or its initial value before it was trained."""
        return self.losses.get(skill, _MOST)

    def draw(self, rng: random.Random) -> dict[str, int]:
        """Draw skill → rows of the next step; a skill with twice the loss gets twice the rows on average."""
        others = [skill for skill in self.skills if skill not in self.focus]
        turns = itertools.cycle(rng.sample(self.focus, len(self.focus)))
        drawn = list(itertools.islice(turns, self.rows // _FOCUS))
        if others:
            drawn += rng.choices(others, [self._weight(skill) for skill in others], k=self.rows - len(drawn))
        return Counter(drawn)

    def _weight(self, skill: str) -> float:
        if self.focus:
            return _FIXED.get(skill, 1.0)
        return _FIXED.get(skill, min(_MOST, max(_LONGER.get(skill, _LEAST), self.loss(skill))))

    def saw(self, losses: dict[str, float]) -> None:
        """Record the loss of each skill in one step, in nats per token."""
        for skill, loss in losses.items():
            if skill in self.skills:
                record(self.losses, skill, loss, keep=_KEEP)

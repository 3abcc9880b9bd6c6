"""Tasks with checkable answers, asked as a person would, each with a held-out split by construction."""

from __future__ import annotations

from . import digits, names, numbers, recall
from .question import Question, held_out

SKILLS = {"digits": digits.ask, "names": names.ask, "numbers": numbers.ask, "recall": recall.ask}
"""Skill -> function ``(rng, held_out) -> Question``."""

__all__ = ["SKILLS", "Question", "held_out"]

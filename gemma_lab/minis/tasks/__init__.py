"""Tasks with checkable answers in everyday language, each with a held-out part by construction."""

from __future__ import annotations

import random
from collections.abc import Callable

from . import (
    abstention,
    arithmetic,
    calling,
    compare,
    dates,
    digits,
    instructions,
    motion,
    names,
    numbers,
    recall,
    records,
    scenes,
    speech,
    tones,
)
from .question import Clip, Question, held_out

SKILLS: dict[str, Callable[[random.Random, bool], Question]] = {
    "digits": digits.ask, "scenes": scenes.ask, "compare": compare.ask, "motion": motion.ask,
    "speech": speech.ask, "tones": tones.ask, "names": names.ask, "numbers": numbers.ask, "dates": dates.ask,
    "recall": recall.ask, "arithmetic": arithmetic.ask, "thinking": arithmetic.think,
    "tools": calling.ask, "records": records.ask, "instructions": instructions.ask,
    "abstention": abstention.ask,
}  # fmt: skip
"""Skill -> function ``(rng, held_out) -> Question``."""
SEEN = ("digits", "scenes", "compare", "motion")
"""Skills that need image input."""
HEARD = ("speech", "tones")
"""Skills that need audio input."""
_TASKS = (
    digits, scenes, compare, motion, speech, tones, names, numbers, dates, recall, arithmetic, calling,
    records, instructions, abstention,
)  # fmt: skip


def skills_of(*, hears: bool) -> tuple[str, ...]:
    """Return the skills of a model with vision, with or without those that need audio."""
    return tuple(skill for skill in SKILLS if hears or skill not in HEARD)


def corpus() -> list[str]:
    """Return texts of every task, to train the minis' tokenizer on."""
    return [text for task in _TASKS for text in task.corpus()]


__all__ = ["HEARD", "SEEN", "SKILLS", "Clip", "Question", "corpus", "held_out", "skills_of"]

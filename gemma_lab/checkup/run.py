"""Asking the questions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from .questions import QUICK, questions
from .report import Answer, Checkup

if TYPE_CHECKING:
    from ..models.lab import Lab

_LONGEST = 64  # tokens; every right answer is shorter, also inside a sentence


def checkup(
    lab: Lab, *, full: bool = False, skills: Sequence[str] | None = None, progress: bool = True
) -> Checkup:
    """Ask a model the held-out questions, greedily, and grade what it says; see `Lab.checkup`."""
    from tqdm.auto import tqdm

    asked = questions(only=skills, each=None if full else QUICK)
    missing = {
        question.skill: f"{lab.name} takes no {question.modality}"
        for question in asked
        if question.modality not in lab.modalities
    }
    answers: list[Answer] = []
    try:
        todo = [question for question in asked if question.skill not in missing]
        for question in tqdm(todo, desc=f"check-up of {lab.name}", disable=not progress, leave=False):
            images = [] if question.image is None else [question.image]
            said = lab.chat(
                question.prompt, images=images, temperature=0, max_new_tokens=_LONGEST, alternatives=0
            ).text
            answers.append(Answer(question, said, question.is_right(said)))
    finally:
        found = lab.last_checkup = Checkup(lab.name, answers, not_asked=missing)
    return found

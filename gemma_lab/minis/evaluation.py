"""The card of a mini: what the check-up found, beside what was aimed at and how it was trained."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..checkup.questions import Question as Asked
from .tasks import SKILLS

if TYPE_CHECKING:
    from ..checkup.report import Checkup
    from .tasks import Question

TARGETS = {"digits": 0.90, "recall": 0.90, "numbers": 0.80, "names": 0.80}
"""The accuracy that each skill of ``mini-moe`` is meant to reach, as a share."""


def held_out_questions(*, each: int = 200, seed: int = 1) -> list[Asked]:
    """Draw the check-up's questions from the held-out part of every skill.

    Parameters
    ----------
    each
        Questions a skill, all different.
    seed
        Which are drawn.
    """
    return [question for skill in SKILLS for question in _questions(skill, each=each, seed=seed)]


def _questions(skill: str, *, each: int, seed: int) -> list[Asked]:
    rng = random.Random(f"evaluation {skill} {seed}")
    drawn: dict[tuple[str, bytes], Asked] = {}
    while len(drawn) < each:
        asked = _asked(SKILLS[skill](rng, True))
        drawn.setdefault((asked.prompt, asked.png), asked)
    return list(drawn.values())


def _asked(question: Question) -> Asked:
    import io

    png = io.BytesIO()
    if question.image is not None:
        question.image.save(png, "PNG", optimize=True)
    within = question.skill != "numbers"
    return Asked(
        question.skill, question.group, question.prompt, question.answer, within=within, png=png.getvalue()
    )


def write_card(folder: Path, checkup: Checkup, *, training: dict[str, Any]) -> None:
    """Write ``card.json`` beside the weights: what the mini is, how it was trained and what it can do."""
    card = {
        "name": folder.name,
        "miniature_of": "26B-A4B",
        "licence": "Apache-2.0",
        "training": training,
        "data": ["scikit-learn digits (UCI, CC BY 4.0)", "num2words", "Unicode CLDR through Babel"],
        "skills": [_row(checkup, row) for row in checkup.to_dict()["skills"]],
    }
    (folder / "card.json").write_text(json.dumps(card, indent=1) + "\n", encoding="utf-8")


def _row(checkup: Checkup, row: dict[str, Any]) -> dict[str, Any]:
    groups = {
        group.name: {"right": group.right, "questions": group.asked} for group in checkup.groups(row["skill"])
    }
    return {**row, "target": TARGETS[row["skill"]], "groups": groups}

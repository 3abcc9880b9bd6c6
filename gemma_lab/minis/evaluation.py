"""Held-out questions put to a model, graded, and the card that holds the result."""

from __future__ import annotations

import json
import math
import random
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tqdm.auto import tqdm

from .tasks import SKILLS

if TYPE_CHECKING:
    from ..models.lab import Lab

TARGETS = {"digits": 0.90, "recall": 0.90, "numbers": 0.80, "names": 0.80}
"""The accuracy that each skill of ``mini-moe`` is meant to reach, as a share."""


def interval(right: int, asked: int) -> tuple[float, float]:
    """Return the 95 % Wilson interval of a share (E. B. Wilson 1927, JASA 22)."""
    z, share = 1.959964, right / asked
    middle = (share + z * z / (2 * asked)) / (1 + z * z / asked)
    half = z * math.sqrt(share * (1 - share) / asked + z * z / (4 * asked * asked)) / (1 + z * z / asked)
    return max(0.0, middle - half), min(1.0, middle + half)


def evaluate(lab: Lab, *, asked: int = 200, seed: int = 1, progress: bool = True) -> list[dict[str, Any]]:
    """Ask held-out questions, greedily, and return the accuracy of each skill and group.

    Parameters
    ----------
    asked
        Questions a skill.
    seed
        Which questions are drawn.

    Returns
    -------
    list of dict
        One ``{"skill", "questions", "right", "accuracy", "interval_95", "target", "groups"}`` a skill.
    """
    return [_evaluate(lab, skill, asked=asked, seed=seed, progress=progress) for skill in SKILLS]


def _evaluate(lab: Lab, skill: str, *, asked: int, seed: int, progress: bool) -> dict[str, Any]:
    rng = random.Random(f"evaluation {skill} {seed}")
    questions = [SKILLS[skill](rng, True) for _ in range(asked)]
    groups: dict[str, list[int]] = defaultdict(lambda: [0, 0])
    for question in tqdm(questions, desc=skill, disable=not progress, leave=False):
        images = [question.image] if question.image is not None else []
        reply = lab.chat(question.prompt, images=images, temperature=0, max_new_tokens=40, alternatives=0)
        groups[question.group][0] += question.grade(reply.text)
        groups[question.group][1] += 1
    right = sum(good for good, _ in groups.values())
    return {
        "skill": skill,
        "questions": asked,
        "right": right,
        "accuracy": right / asked,
        "interval_95": [round(bound, 4) for bound in interval(right, asked)],
        "target": TARGETS[skill],
        "groups": {name: {"right": good, "questions": n} for name, (good, n) in sorted(groups.items())},
    }


def write_card(folder: Path, skills: list[dict[str, Any]], *, training: dict[str, Any]) -> None:
    """Write ``card.json`` beside the weights: what the mini is, how it was trained and what it can do."""
    card = {
        "name": folder.name,
        "miniature_of": "26B-A4B",
        "licence": "Apache-2.0",
        "training": training,
        "data": ["scikit-learn digits (UCI, CC BY 4.0)", "num2words", "Unicode CLDR through Babel"],
        "skills": skills,
    }
    (folder / "card.json").write_text(json.dumps(card, indent=1) + "\n", encoding="utf-8")

"""The model card of a mini: results of the check-up, targets, and training."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..evals.questions import Question as Asked
from .architecture import ENCODER_FREE, MINIATURE_OF
from .tasks import SKILLS, digits, motion, recall

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..evals.report import Checkup

TARGETS = {
    "digits": 0.97, "scenes": 0.92, "compare": 0.87, "direction": 1.00, "speech": 0.85, "names": 0.90,
    "numbers": 0.93, "dates": 0.90, "recall": 0.98, "thinking": 0.95, "tools": 0.95, "records": 0.95,
    "facts": 0.90, "large digits": 0.90, "which": 0.85, "when": 0.85, "instructions": 0.90,
    "abstention": 0.90,
}  # fmt: skip
"""The accuracy that each skill is meant to reach, as a share; skills beside these have none."""
_EACH_GROUP = ("large digits",)  # skills of which every group is meant to reach it: each size of images
_LESS = 0.05  # what a mini without encoders may have less of
# of motion also the direction alone; recall also of facts alone, and in texts longer than training reads
_ASKED = SKILLS | {"direction": motion.direction, "facts": recall.facts, "long recall": recall.long}
# asked only if they are named: what the published minis were not trained for, or fail at
_NAMED = {"large digits": digits.enlarged, "which": motion.which, "when": motion.when,
          "instructions": SKILLS["instructions"], "abstention": SKILLS["abstention"]}  # fmt: skip
IMAGE_SKILLS = ("digits", "scenes", "compare", "motion", "direction", "large digits", "which", "when")
"""What is asked again when only the vision encoder changed."""
_EXACT = ("numbers", "instructions", "abstention")  # skills whose answer must be the whole reply


def held_out_questions(*, each: int = 200, seed: int = 1, named: bool = False) -> list[Asked]:
    """Draw the check-up's questions from the held-out part of every skill, including recall from long texts.

    Parameters
    ----------
    each
        Questions per skill, all different.
    seed
        Of the draws.
    named
        Draw those of the skills that are asked only if they are named, instead of the others.
    """
    asked = _NAMED if named else [skill for skill in _ASKED if skill not in _NAMED]
    return [question for skill in asked for question in _questions(skill, each=each, seed=seed)]


def _questions(skill: str, *, each: int, seed: int) -> list[Asked]:
    rng = random.Random(f"evaluation {skill} {seed}")
    drawn: dict[Any, Asked] = {}
    while len(drawn) < each:
        asked = Asked.from_task((_ASKED | _NAMED)[skill](rng, True), within=skill not in _EXACT)
        key = (asked.system, asked.prompt, asked.images, asked.frames, asked.sound, str(asked.tools))
        drawn.setdefault(key, asked)
    return list(drawn.values())


def write_card(
    folder: Path,
    checkup: Checkup,
    *,
    name: str | None = None,
    training: dict[str, Any],
    earlier: Sequence[dict[str, Any]] = (),
) -> None:
    """Write ``card.json`` next to the weights: description, training, and accuracy by skill.

    Parameters
    ----------
    name
        Name of the mini. Default: that of the folder.
    earlier
        Rows of an earlier card of the same weights, kept for skills that were not evaluated this time.
    """
    name = name or folder.name
    rows = {row["skill"]: row for row in earlier}
    rows |= {row["skill"]: _row(checkup, row) for row in checkup.to_dict()["skills"]}
    card = {
        "name": name,
        "miniature_of": MINIATURE_OF.get(name),
        "licence": "Apache-2.0",
        "training": training,
        "data": [
            "scikit-learn digits (UCI, CC BY 4.0)",
            "num2words",
            "Unicode CLDR through Babel",
            *(["speech by eSpeak NG"] if "speech" in training.get("skills", ()) else []),
        ],
        "skills": [
            rows[skill] | {"target": target(name, skill), "target_of_each_group": skill in _EACH_GROUP}
            for skill in _ASKED | _NAMED
            if skill in rows
        ],
    }
    (folder / "card.json").write_text(json.dumps(card, indent=1) + "\n", encoding="utf-8")


def target(name: str, skill: str) -> float | None:
    """Return the accuracy that a mini is meant to reach in a skill, as a share; None if it has no target."""
    wanted = TARGETS.get(skill)
    return wanted if wanted is None or name not in ENCODER_FREE else round(wanted - _LESS, 2)


def _row(checkup: Checkup, row: dict[str, Any]) -> dict[str, Any]:
    groups = {
        group.name: {"right": group.right, "questions": group.asked} for group in checkup.groups(row["skill"])
    }
    return {**row, "groups": groups}

"""The parts of the README that a command writes: badges, the table of notebooks, the minis' cards."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

from gemma_lab.errors import LabError
from gemma_lab.evals.statistics import wilson_interval

from .links import badges
from .opening import opening

if TYPE_CHECKING:
    from pathlib import Path

    from .checkout import Checkout


def replaced(text: str, region: str, body: str) -> str:
    """Return `text` with what lies between ``<!-- region -->`` and ``<!-- /region -->`` replaced by `body`.

    Raises
    ------
    LabError
        If the two markers are not there exactly once.
    """
    marks = re.compile(rf"(<!-- {region} -->\n).*?(<!-- /{region} -->)", re.DOTALL)
    result, count = marks.subn(lambda match: f"{match[1]}{body}\n{match[2]}", text)
    if count != 1:
        raise LabError(
            f"README.md has {count} regions named {region!r} instead of one.",
            hint=f"Put <!-- {region} --> and <!-- /{region} --> on separate lines.",
        )
    return result


def notebook_table(project: Checkout) -> str:
    """Return the Markdown table of the notebooks, from their own first cells."""
    rows = ["| notebook | shows | needs | takes |", "|---|---|---|---|"]
    for path in project.notebooks:
        first = opening(path)
        link = f"[{path.stem}](notebooks/{path.name})"
        rows.append(f"| {link} | {_cell(first.shows)} | {_cell(first.needs)} | {_cell(first.takes)} |")
    return "\n".join(rows)


def card_table(card: dict[str, Any]) -> str:
    """Return the Markdown table of one mini's held-out accuracy, from its ``card.json``.

    Parameters
    ----------
    card
        As the evaluation command writes it: ``skills`` is a list of
        ``{"skill", "questions", "accuracy", "interval_95", "target", …}``; shares, not percent. A skill
        without a target has None there. With ``target_of_each_group``, its ``groups`` have rows, too.
    """
    head = ["| skill | held-out questions | right | 95 % interval | target |", "|---|---:|---:|---|---:|"]
    rows = []
    for skill in card["skills"]:
        rows.append(_card_row(skill))
        if skill.get("target_of_each_group"):
            rows += [_card_row(_group(skill, name)) for name in skill["groups"]]
    return "\n".join([*head, *rows])


def _card_row(skill: dict[str, Any]) -> str:
    low, high = skill["interval_95"]
    target = "reported" if skill["target"] is None else f"{skill['target']:.0%}"
    if skill["target"] is not None and skill["accuracy"] < skill["target"]:
        target += ", **missed**"
    cells = [
        _cell(skill["skill"]),
        f"{skill['questions']:,}",
        f"{skill['accuracy']:.1%}",
        f"{low:.1%} to {high:.1%}",
        target,
    ]
    return f"| {' | '.join(cells)} |"


def _group(skill: dict[str, Any], name: str) -> dict[str, Any]:
    """Return one group of a skill as a row of its own."""
    right, questions = skill["groups"][name]["right"], skill["groups"][name]["questions"]
    return {
        "skill": f"{skill['skill']}: {name}",
        "questions": questions,
        "accuracy": right / questions,
        "interval_95": wilson_interval(right, questions),
        "target": skill["target"],
    }


def written(project: Checkout) -> str:
    """Return README.md with its generated regions up to date."""
    text = (project.folder / "README.md").read_text(encoding="utf-8")
    text = replaced(text, "badges", badges(project, "00_start_here.ipynb"))
    text = replaced(text, "notebooks", notebook_table(project))
    for path in sorted((project.folder / "data" / "minis").glob("*/card.json")):
        card = json.loads(path.read_text(encoding="utf-8"))
        if "skills" not in card:
            continue  # a drafter's: it answers nothing by itself
        text = replaced(text, path.parent.name, card_table(card))
    return text


def write_readme(project: Checkout) -> list[Path]:
    """Update the generated regions of README.md; return its path if it changed."""
    path, text = project.folder / "README.md", written(project)
    if text == path.read_text(encoding="utf-8"):
        return []
    path.write_text(text, encoding="utf-8")
    return [path]


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", r"\|")

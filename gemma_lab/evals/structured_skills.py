"""The skills of the check-up that are asked twice, without and with a grammar: calls and JSON."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from .bfcl import tool_call_cases
from .questions import QUICK, load_questions

if TYPE_CHECKING:
    from .bfcl import ToolCallCase
    from .questions import Question

#: They are asked only where they are named: each question takes two answers, and BFCL's prompts are long.
STRUCTURED_SKILLS = ("calls", "json")
_QUICK_PER_KIND = 2


def structured_cases(skill: str, *, full: bool) -> list[ToolCallCase | Question]:
    """Return what a skill asks: ``"calls"`` cases of BFCL and ``tools`` questions, ``"json"`` ``records``.

    Parameters
    ----------
    skill
        One of `STRUCTURED_SKILLS`.
    full
        All 40 cases and 200 questions; otherwise 20 together.
    """
    if skill == "json":
        return list(load_questions(skills=["records"], per_skill=None if full else QUICK))
    cases = tool_call_cases(per_kind=None if full else _QUICK_PER_KIND)
    own = load_questions(skills=["tools"], per_skill=None if full else max(1, QUICK - len(cases)))
    return [*cases, *own]


def split_skills(skills: Iterable[str] | None) -> tuple[list[str] | None, list[str]]:
    """Return the skills that are asked once (None stands for all), and those of `STRUCTURED_SKILLS`."""
    if skills is None:
        return None, []
    named = [skills] if isinstance(skills, str) else list(skills)
    twice = [skill for skill in STRUCTURED_SKILLS if skill in named]
    return [skill for skill in named if skill not in STRUCTURED_SKILLS], twice

"""Asking the questions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ..errors import ContextFull, MissingExtra
from .questions import QUICK, SLOW, chance_accuracy, load_questions
from .report import Checkup, GradedAnswer

if TYPE_CHECKING:
    from .model import EvaluatedModel
    from .questions import Question

_LONGEST = 64  # tokens; every right answer is shorter, also inside a sentence
_LONGEST_VALUE = 160  # of a record or a call
_LONGEST_THOUGHT = 1024  # of a thought and the answer after it


def checkup(
    lab: EvaluatedModel, *, full: bool = False, skills: Sequence[str] | None = None, progress: bool = True
) -> Checkup:
    """Ask a model the held-out questions, greedily, and grade what it says; see `Lab.checkup`."""
    from tqdm.auto import tqdm

    everything = load_questions(only=skills)
    asked = load_questions(only=skills, each=None if full else QUICK)
    missing = {
        question.skill: f"{lab.name} takes no {question.modality}"
        for question in asked
        if question.modality not in lab.modalities
    }
    if not full and skills is None:
        missing |= {skill: "only the full check-up does" for skill in SLOW if skill in _of(everything)}
    answers: list[GradedAnswer] = []
    lucky = {skill: chance_accuracy(of) for skill, of in _of(everything).items()}
    try:
        todo = [question for question in asked if question.skill not in missing]
        for question in tqdm(todo, desc=f"check-up of {lab.name}", disable=not progress, leave=False):
            try:
                answers.append(_answer(lab, question))
            except (ContextFull, MissingExtra) as error:
                missing[f"{question.skill} {question.group}"] = error.what
    finally:
        found = lab.last_checkup = Checkup(lab.name, answers, not_asked=missing, chance=lucky)
    return found


def _of(asked: Sequence[Question]) -> dict[str, list[Question]]:
    found: dict[str, list[Question]] = {}
    for question in asked:
        found.setdefault(question.skill, []).append(question)
    return found


def _answer(lab: EvaluatedModel, question: Question) -> GradedAnswer:
    """Put one question to a model; what it does not need is not passed."""
    options: dict[str, Any] = {
        "images": question.pictures, "video": question.video, "audio": question.audio,
        "tools": question.tools, "system": question.system, "thinking": question.thinking,
    }  # fmt: skip
    most = _LONGEST_VALUE if question.tools or question.schema is not None else _LONGEST
    reply = lab.chat(
        question.messages if question.history else question.prompt,
        **{name: value for name, value in options.items() if value},
        temperature=0,
        max_new_tokens=_LONGEST_THOUGHT if question.thinking else most,
        top_logprobs=0,
    )
    calls = reply.calls
    said = " ".join(filter(None, (reply.text, *(call.text for call in calls))))
    return GradedAnswer(question, said, question.is_correct(reply.text, calls))

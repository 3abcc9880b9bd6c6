"""The check-up: answer held-out questions and grade the answers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ..errors import ContextFull, MissingExtra
from .questions import QUICK, SLOW, chance_accuracy, load_questions
from .report import Checkup, GradedAnswer
from .structured_skills import split_skills, structured_cases
from .tool_calls import tool_call_accuracy

if TYPE_CHECKING:
    from .model import EvaluatedModel
    from .questions import Question
    from .tool_calls import ToolCallAccuracy

_MAX_TOKENS = 64  # every right answer is shorter, even in a sentence
_MAX_VALUE_TOKENS = 160  # of a record or a tool call
_MAX_THINKING_TOKENS = 1024  # of thoughts and the answer after them


def checkup(
    lab: EvaluatedModel, *, full: bool = False, skills: Sequence[str] | None = None, progress: bool = True
) -> Checkup:
    """Answer the held-out questions with greedy decoding and grade the answers; see `Lab.checkup`.

    Parameters
    ----------
    lab
        The model; `EvaluatedModel` lists what is needed of it.
    full
        Ask all 200 questions per skill instead of 20, and include the long skills.
    skills
        Names of skills. Default: all that are asked once. ``"calls"`` and ``"json"`` are asked only if they
        are named: without and with a grammar (`gemma_lab.evals.structured_skills`).
    progress
        Show a progress bar.

    Returns
    -------
    Checkup
        Also set as ``lab.last_checkup``, even if the run is interrupted.
    """
    from tqdm.auto import tqdm

    once, twice = split_skills(skills)
    everything = [] if once == [] else load_questions(skills=once)
    asked = [] if once == [] else load_questions(skills=once, per_skill=None if full else QUICK)
    missing = {
        question.skill: f"{lab.name} has no {question.modality} input"
        for question in asked
        if question.modality not in lab.modalities
    }
    if not full and skills is None:
        missing |= {skill: "only in the full check-up" for skill in SLOW if skill in _by_skill(everything)}
    answers: list[GradedAnswer] = []
    structured: dict[str, ToolCallAccuracy] = {}
    chance = {skill: chance_accuracy(questions) for skill, questions in _by_skill(everything).items()}
    try:
        todo = [question for question in asked if question.skill not in missing]
        for question in tqdm(todo, desc=f"check-up of {lab.name}", disable=not progress, leave=False):
            try:
                answers.append(_answer(lab, question))
            except (ContextFull, MissingExtra) as error:
                missing[f"{question.skill} {question.group}"] = error.what
        for skill in twice:
            cases = structured_cases(skill, full=full)
            structured[skill] = tool_call_accuracy(lab, cases, progress=progress)
    finally:
        result = lab.last_checkup = Checkup(
            lab.name, answers, not_asked=missing, chance=chance, structured=structured
        )
    return result


def _by_skill(questions: Sequence[Question]) -> dict[str, list[Question]]:
    skills: dict[str, list[Question]] = {}
    for question in questions:
        skills.setdefault(question.skill, []).append(question)
    return skills


def question_options(question: Question) -> tuple[Any, dict[str, Any]]:
    """Return prompt and options of `Lab.chat` for a question; options that it does not need are left out."""
    options: dict[str, Any] = {
        "images": question.opened_images, "video": question.video, "audio": question.audio,
        "tools": question.tools, "system": question.system, "thinking": question.thinking,
        "max_soft_tokens": question.soft_tokens,
    }  # fmt: skip
    prompt = question.messages if question.history else question.prompt
    return prompt, {name: value for name, value in options.items() if value}


def answer_limit(question: Question) -> int:
    """Return the most new tokens of an answer to a question."""
    if question.thinking:
        return _MAX_THINKING_TOKENS
    return _MAX_VALUE_TOKENS if question.tools or question.schema is not None else _MAX_TOKENS


def _answer(lab: EvaluatedModel, question: Question) -> GradedAnswer:
    """Answer one question."""
    prompt, options = question_options(question)
    limit = answer_limit(question)
    reply = lab.chat(prompt, **options, temperature=0, max_new_tokens=limit, top_logprobs=0)
    calls = reply.calls
    text = " ".join(filter(None, (reply.text, *(call.text for call in calls))))
    return GradedAnswer(question, text, question.is_correct(reply.text, calls))

"""The check-up in batches: the same answers in a fraction of the time, for cards and during training.

`Lab.checkup` asks one question at a time, as a reader does. On a CPU most of a mini's time goes into the
calls of its many small layers, so that a batch of 40 questions takes little more time than one.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from ..evals.questions import SLOW, Question, chance_accuracy, load_questions, skill_names
from ..evals.report import Checkup, GradedAnswer
from ..evals.run import answer_limit, checkup, question_options
from ..models.chat.prompt import Prompt, prepare
from ..models.chat.request_builder import build_request
from ..models.chat.tools import calls
from ..models.chat.transcript import split_reply
from ..models.tokens.vocabulary import Vocabulary

if TYPE_CHECKING:
    from ..lab import Lab

_Asked = tuple[int, Question, Prompt]
_ROWS = 40
_PAIRS = 60_000_000  # of patches of one image, over a batch: 40 images of 560 soft tokens took 17 GB


def checkup_in_batches(
    lab: Lab, *, skills: Sequence[str] | None = None, per_skill: int | None = None
) -> Checkup:
    """Answer the held-out questions in batches with greedy decoding, and grade the answers.

    Long prompts (`gemma_lab.evals.questions.SLOW`) are asked one by one by the check-up itself.

    Parameters
    ----------
    lab
        A mini.
    skills
        Names of skills. Default: all whose modality it has.
    per_skill
        Number of questions per skill. Default: all 200.
    """
    names = list(skill_names() if skills is None else skills)
    quick = [skill for skill in names if skill not in SLOW]
    asked = load_questions(skills=quick, per_skill=per_skill) if quick else []
    missing = {
        one.skill: f"{lab.name} has no {one.modality} input"
        for one in asked
        if one.modality not in lab.modalities
    }
    todo = [one for one in asked if one.skill not in missing]
    replies = dict(_answered(lab, todo))
    answers = [replies[number] for number in range(len(todo))]
    chance = {skill: chance_accuracy(load_questions(skills=[skill])) for skill in quick}
    if slow := [skill for skill in names if skill in SLOW]:
        found = checkup(lab, full=True, skills=slow)
        answers, chance = [*answers, *found.answers], chance | dict(found.chance)
    return Checkup(lab.name, answers, not_asked=missing, chance=chance)


def _answered(lab: Lab, questions: Sequence[Question]) -> Iterator[tuple[int, GradedAnswer]]:
    """Yield the number of each question and its graded answer, batch by batch.

    One skill is prepared at a time: the frames of 800 clips take 7 GB.
    """
    from tqdm.auto import tqdm

    skills: dict[str, list[tuple[int, Question]]] = {}
    for number, question in enumerate(questions):
        skills.setdefault(question.skill, []).append((number, question))
    vocabulary = Vocabulary(lab.tokenizer)
    with tqdm(total=len(questions), desc=f"check-up of {lab.name}", leave=False) as bar:
        for skill in skills.values():
            for part in _batches(lab, skill):
                limit = answer_limit(part[0][1])
                replies = _generated(lab, [prompt for *_, prompt in part], limit=limit)
                for (number, question, prompt), ids in zip(part, replies, strict=True):
                    yield number, _graded(vocabulary, question, prompt, ids)
                bar.update(len(part))


def _batches(lab: Lab, numbered: Sequence[tuple[int, Question]]) -> Iterator[list[_Asked]]:
    """Yield questions of one skill, with their numbers and prompts, that can be asked together."""
    groups: dict[Any, list[_Asked]] = {}
    for number, question in numbered:
        prompt = _prompt(lab, question)
        groups.setdefault(_alike(question, prompt), []).append((number, question, prompt))
    for group in groups.values():
        group.sort(key=lambda one: len(one[2].ids))
        rows = _rows(group[0][2])
        for start in range(0, len(group), rows):
            yield group[start : start + rows]


def _rows(prompt: Prompt) -> int:
    """Return how many prompts like this one a batch has: fewer where the vision encoder has many patches."""
    pairs = 0
    for name, value in prompt.inputs.items():
        if name.startswith("pixel_values"):
            *frames, patches, _ = value.shape
            pairs += math.prod(frames) * patches**2
    return max(1, min(_ROWS, _PAIRS // pairs)) if pairs else _ROWS


def _prompt(lab: Lab, question: Question) -> Prompt:
    messages, options = question_options(question)
    return prepare(lab, build_request(lab, messages, options))


def _alike(question: Question, prompt: Prompt) -> Any:
    """Return what the questions of a batch have in common: with media, the shapes of all inputs."""
    if question.modality == "text":
        return answer_limit(question)
    return answer_limit(question), tuple((name, tuple(value.shape)) for name, value in prompt.inputs.items())


def _generated(lab: Lab, prompts: Sequence[Prompt], *, limit: int) -> list[list[int]]:
    """Return the new ids of each prompt without the one that ends it; text is padded on the left."""
    import torch
    from torch.nn.functional import pad

    longest = max(len(prompt.ids) for prompt in prompts)
    inputs = {
        name: torch.cat([
            pad(prompt.inputs[name], (longest - len(prompt.ids), 0))
            if value.shape == (1, len(prompts[0].ids)) else prompt.inputs[name]
            for prompt in prompts
        ])
        for name, value in prompts[0].inputs.items()
    }  # fmt: skip
    ends = lab.model.generation_config.eos_token_id
    ends = ends if isinstance(ends, list) else [ends]
    with torch.inference_mode():
        out = lab.model.generate(
            **inputs, do_sample=False, max_new_tokens=limit, eos_token_id=ends, pad_token_id=0,
            temperature=None, top_p=None, top_k=None,
        )  # fmt: skip
    rows = out[:, longest:].tolist()
    return [row[: next((at for at, index in enumerate(row) if index in ends), len(row))] for row in rows]


def _graded(vocabulary: Vocabulary, question: Question, prompt: Prompt, ids: Sequence[int]) -> GradedAnswer:
    text, tool = split_reply(vocabulary, prompt.ids, ids)
    made = calls(tool, prompt.request.tools)
    reply = " ".join(filter(None, (text, *(call.text for call in made))))
    return GradedAnswer(question, reply, question.is_correct(text, made))

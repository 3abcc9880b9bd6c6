"""The prompts of a comparison: the user's, or questions of the check-up."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ...checks import short_repr
from ...errors import LabError
from ...models.chat.request import Request
from ...models.chat.request_builder import build_request
from ...models.chat.sampling import Sampling
from ..questions import SLOW, load_questions
from ..run import question_options

if TYPE_CHECKING:
    from ..questions import Question

#: Likeliest tokens that are kept of each answer.
TOP = 10
#: Modalities of the questions that are asked by default; a video has thousands of tokens.
_DEFAULT = ("text", "image")
#: Longest label of a prompt, characters.
_LABEL = 60


@dataclass(frozen=True)
class AskedPrompt:
    """A prompt that both sides answer.

    Attributes
    ----------
    label
        Its text in tables, shortened.
    prompt
        Text, messages, token ids or a `Request`.
    options
        Further options of `Lab.chat`.
    """

    label: str
    prompt: Any = field(repr=False)
    options: Mapping[str, Any] = field(default_factory=dict, repr=False)

    def request(self, lab: Any, max_new_tokens: int) -> Request:
        """Return the request for a model in this process: greedy, of limited length."""
        if isinstance(self.prompt, Request):
            return self.prompt.with_options(
                sampling=Sampling.greedy(), seed=None, max_new_tokens=max_new_tokens, top_logprobs=TOP
            )
        return build_request(
            lab,
            self.prompt,
            {**self.options, "top_logprobs": TOP},
            sampling=Sampling.greedy(),
            max_new_tokens=max_new_tokens,
        )

    def remote_arguments(self, max_new_tokens: int) -> tuple[Any, dict[str, Any]]:
        """Return prompt and options for the ``chat`` of a server."""
        fixed = {"temperature": 0.0, "max_new_tokens": max_new_tokens, "top_logprobs": TOP}
        return self.prompt, {**self.options, **fixed}


def asked_prompts(prompts: Any) -> list[AskedPrompt]:
    """Return prompts as a list.

    Parameters
    ----------
    prompts
        One prompt or several: texts, conversations (lists of messages), token ids or `Request` values. None:
        the first question of each skill of the check-up about text or images but the slow ones.

    Raises
    ------
    LabError
        If there is none, or one is of another type.
    """
    if prompts is None:
        questions = load_questions(per_skill=1)
        prompts = [each for each in questions if each.skill not in SLOW and each.modality in _DEFAULT]
    if isinstance(prompts, str | Request | Mapping) or _is_conversation(prompts):
        prompts = [prompts]
    if not isinstance(prompts, Iterable):
        raise _wrong(prompts)
    listed = [_asked(prompt) for prompt in prompts]
    if not listed:
        raise LabError("There are no prompts.", hint='Pass prompts=["What is 7 in German?"], or none at all.')
    return listed


def _asked(prompt: Any) -> AskedPrompt:
    from ..questions import Question

    if isinstance(prompt, AskedPrompt):
        return prompt
    if isinstance(prompt, Question):
        return _of_question(prompt)
    if isinstance(prompt, Request):
        text = prompt.texts[-1] if prompt.texts else f"{len(prompt.ids or ()):,} token ids"
        return AskedPrompt(_short(text), prompt)
    if isinstance(prompt, str):
        return AskedPrompt(_short(prompt), prompt)
    if _is_conversation(prompt):
        texts = [text for message in prompt if isinstance(text := message.get("content"), str)]
        return AskedPrompt(_short(texts[-1] if texts else "messages"), prompt)
    if isinstance(prompt, Sequence) or hasattr(prompt, "tolist"):
        ids = prompt.tolist() if hasattr(prompt, "tolist") else list(prompt)
        if ids and all(isinstance(index, int) and not isinstance(index, bool) for index in ids):
            return AskedPrompt(f"{len(ids):,} token ids", ids, {"raw": True})
    raise _wrong(prompt)


def _of_question(question: Question) -> AskedPrompt:
    prompt, options = question_options(question)
    return AskedPrompt(_short(question.prompt), prompt, options)


def _is_conversation(value: Any) -> bool:
    return isinstance(value, list | tuple) and bool(value) and all(isinstance(m, Mapping) for m in value)


def _short(text: str) -> str:
    """Return the end of a long text: questions are at the end of their prompts."""
    line = " ".join(text.split())
    return line if len(line) <= _LABEL else "…" + line[-_LABEL + 1 :]


def _wrong(prompt: Any) -> LabError:
    return LabError(
        f"{short_repr(prompt)} is not a prompt.",
        hint="Prompts are texts, lists of messages, lists of token ids, or what lab.request(…) returned.",
    )

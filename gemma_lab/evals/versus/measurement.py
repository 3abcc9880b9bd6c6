"""Measure one side of a comparison: answers, readings of given answers, check-up, memory, speed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ...errors import BadMedia, BadPrompt, ContextFull, LabError, MissingExtra
from ...models.chat.reply import Reply
from ...models.tokens.vocabulary import Vocabulary
from ...trace.run.forced_answer import read_answer
from .memory import memory_by_part
from .sides import is_local

if TYPE_CHECKING:
    from ...models.remote.reply import ServerReply
    from ...trace.trace import Trace
    from ..report import Checkup
    from .prompts import AskedPrompt
    from .sides import Side

#: What takes the logits of a side's reading of an answer: index of the prompt, ids of the answer, logits.
OnLogits = Callable[[int, list[int], Any], None]
#: What a model can refuse of a prompt that another takes: a medium, a length. Other errors end a comparison.
REFUSALS = (BadMedia, BadPrompt, ContextFull, MissingExtra)


@dataclass(frozen=True)
class Shape:
    """What must be equal in two models for a quantity to be comparable.

    Attributes
    ----------
    vocabulary
        Digest of the tokenizer's entries, and the number of logits.
    routers
        Layers with experts, and experts per layer; None without experts.
    heads
        Query heads of each layer.
    """

    vocabulary: tuple[str, int]
    routers: tuple[tuple[int, ...], int] | None
    heads: tuple[int, ...]

    @property
    def routers_text(self) -> str:
        """`routers` in words."""
        if self.routers is None:
            return "no experts"
        layers, experts = self.routers
        return f"{experts} experts in {len(layers)} layers"

    @property
    def heads_text(self) -> str:
        """`heads` in words."""
        return f"{len(self.heads)} layers of {' or '.join(map(str, sorted(set(self.heads))))} heads"

    @classmethod
    def of(cls, lab: Any) -> Shape:
        """Return the shape of a loaded model."""
        entries = json.dumps(sorted(lab.tokenizer.get_vocab().items()), ensure_ascii=False)
        layers = lab.architecture.layers
        routed = tuple(index for index, layer in enumerate(layers) if layer.experts)
        return cls(
            vocabulary=(hashlib.sha256(entries.encode()).hexdigest(), lab.vocabulary),
            routers=(routed, lab.architecture.experts) if routed else None,
            heads=tuple(layer.heads for layer in layers),
        )


class Speed(NamedTuple):
    """Tokens per second over all prompts.

    Attributes
    ----------
    decoding
        Of the answers after their first token; NaN for a server, which tells no times.
    prefill
        Of the prompts until the first token; NaN for a server.
    answers
        Tokens of the answers per second of prefill and decoding; of a server per second of waiting.
    """

    decoding: float
    prefill: float
    answers: float


@dataclass
class Measured:
    """What was measured of one side; lists have one entry per prompt.

    Attributes
    ----------
    name
        Title of the side.
    description
        One line about the model: its ``repr``.
    shape
        None for a server.
    replies
        The greedy answers; None where the side cannot answer.
    answers
        Token ids of the answers that are read by both sides; None where there is none.
    traces, controls
        The reading of the answer in one pass, and of the first side in two; None where there is none.
    refused
        Index of a prompt → why it was not answered or read.
    names
        Id → text of the tokens in answers and among their likeliest alternatives.
    speeds
        One per round.
    """

    name: str
    description: str
    shape: Shape | None
    replies: list[Reply | ServerReply | None] = field(default_factory=list)
    answers: list[list[int] | None] = field(default_factory=list)
    traces: list[Trace | None] = field(default_factory=list)
    controls: list[Trace | None] = field(default_factory=list)
    refused: dict[int, str] = field(default_factory=dict)
    speeds: list[Speed] = field(default_factory=list)
    names: dict[int, str] = field(default_factory=dict)
    checkup: Checkup | None = None
    memory: dict[str, int] | None = None

    def same_vocabulary(self, other: Measured) -> bool:
        """Return whether token ids mean the same in both models."""
        if self.shape is None or other.shape is None:
            return False
        return self.shape.vocabulary == other.shape.vocabulary


@dataclass(frozen=True)
class Settings:
    """How the sides are measured; the attributes are the parameters of `gemma_lab.versus`."""

    prompts: Sequence[AskedPrompt]
    answers: Sequence[Any] | None
    max_new_tokens: int
    attention_rows: int
    checkup: dict[str, Any] | None
    rounds: int
    progress: bool


def measure(
    side: Side,
    settings: Settings,
    *,
    given: Measured | None,
    on_logits: OnLogits,
    on_control: OnLogits | None = None,
    timed: bool,
) -> Measured:
    """Measure one side.

    Parameters
    ----------
    side, settings
        What is measured, and how.
    given
        The first side, whose answers the second reads; None for the first.
    on_logits, on_control
        Called with the logits of each reading in one pass, and of each in two (the first side only).
    timed
        Measure the speed now, alone: the sides are not in memory together.
    """
    from tqdm.auto import tqdm

    with side.open() as lab:
        local = is_local(lab)
        found = Measured(side.title(lab), side.description(lab), Shape.of(lab) if local else None)
        bar = tqdm(
            settings.prompts, desc=f"prompts, {found.name}", disable=not settings.progress, leave=False
        )
        for index, prompt in enumerate(bar):
            found.replies.append(_reply(lab, prompt, settings, found.refused, index))
            answer = _answer(lab, settings, found, given, index)
            found.answers.append(answer)
            comparable = given is None or found.same_vocabulary(given)
            trace = control = None
            if local and answer and comparable and index not in found.refused:
                try:
                    trace = _read(lab, prompt, answer, settings, on_logits, index)
                    if on_control is not None:
                        control = _read(lab, prompt, answer, settings, on_control, index, apart=True)
                except REFUSALS as error:  # an answer that is too long here
                    found.refused[index], trace = error.what, None
                    found.answers[index] = None
            found.traces.append(trace)
            found.controls.append(control)
        if local:
            found.names = _names(lab, found)
        if timed:
            found.speeds = [speed(lab, settings) for _ in range(settings.rounds)]
        if local:
            found.memory = memory_by_part(lab)
        if settings.checkup is not None:
            found.checkup = lab.checkup(**settings.checkup, progress=settings.progress)
        return found


def speed(lab: Any, settings: Settings) -> Speed:
    """Answer all prompts once and return the tokens per second; NaN where there is nothing to time."""
    decoded = prefilled = answered = 0
    decode_s = prefill_s = answer_s = 0.0
    for prompt in settings.prompts:
        try:
            reply = _chat(lab, prompt, settings)
        except REFUSALS:  # the same in every round, and reported in the first
            continue
        if isinstance(reply, Reply):
            timings = reply.timings
            decoded += max(0, timings.new_tokens - 1)
            decode_s += timings.decode_s
            prefilled += timings.prompt_tokens
            prefill_s += timings.prefill_s
            answered += timings.new_tokens
            answer_s += timings.prefill_s + timings.decode_s
        elif reply.new_tokens:
            answered += reply.new_tokens
            answer_s += reply.seconds
    return Speed(
        decoding=decoded / decode_s if decoded and decode_s > 0 else float("nan"),
        prefill=prefilled / prefill_s if prefill_s > 0 else float("nan"),
        answers=answered / answer_s if answered and answer_s > 0 else float("nan"),
    )


def query_rows(prompt_tokens: int, answer_tokens: int, count: int) -> tuple[int, ...]:
    """Return the queries whose attention rows are compared: evenly spaced, the first and the last among them.

    Parameters
    ----------
    prompt_tokens, answer_tokens
        Tokens of the prompt and of the answer; queries are those that predict a token of the answer.
    count
        Number of queries at most.
    """
    first, last = prompt_tokens - 1, prompt_tokens + answer_tokens - 2
    chosen = np.linspace(first, last, num=min(count, last - first + 1))
    return tuple(sorted({int(row) for row in np.rint(chosen)}))


def _names(lab: Any, found: Measured) -> dict[int, str]:
    vocabulary = Vocabulary(lab.tokenizer)
    ids: set[int] = set()
    for trace in found.traces:
        if trace is not None and trace.generation is not None:
            ids.update(trace.generation.ids.tolist(), trace.generation.alternative_ids.ravel().tolist())
    return {index: vocabulary.name(index) for index in sorted(ids)}


def _chat(lab: Any, prompt: AskedPrompt, settings: Settings) -> Reply | ServerReply:
    if is_local(lab):
        reply: Reply = lab.chat(prompt.request(lab, settings.max_new_tokens))
        return reply
    text, options = prompt.remote_arguments(settings.max_new_tokens)
    answered: ServerReply = lab.chat(text, **options)
    return answered


def _reply(
    lab: Any, prompt: AskedPrompt, settings: Settings, refused: dict[int, str], index: int
) -> Reply | ServerReply | None:
    try:
        return _chat(lab, prompt, settings)
    except REFUSALS as error:
        refused[index] = error.what
        return None


def _answer(
    lab: Any, settings: Settings, found: Measured, given: Measured | None, index: int
) -> list[int] | None:
    """Return the ids of the answer that both sides read; None if there is none."""
    if given is not None:
        return given.answers[index]
    if settings.answers is not None:
        return _ids(lab, settings.answers[index])
    reply = found.replies[index]
    if not isinstance(reply, Reply):
        return None
    return [token.id for token in reply.tokens] or None


def _ids(lab: Any, answer: Any) -> list[int]:
    if not isinstance(answer, str):
        return [int(index) for index in answer]
    if not is_local(lab):
        raise LabError(f"{lab.name} is a server: it does not read given answers.", hint="Leave answers= out.")
    return [int(index) for index in lab.tokenizer(answer, add_special_tokens=False)["input_ids"]]


def _read(
    lab: Any,
    prompt: AskedPrompt,
    answer: list[int],
    settings: Settings,
    on_logits: OnLogits,
    index: int,
    *,
    apart: bool = False,
) -> Trace:
    from ...models.chat.prompt import prepare

    request = prompt.request(lab, settings.max_new_tokens)
    rows: tuple[int, ...] = ()
    if settings.attention_rows:
        rows = query_rows(len(prepare(lab, request).ids), len(answer), settings.attention_rows)
    reading = read_answer(lab, request, answer, rows=rows, apart=apart)
    on_logits(index, answer, reading.logits)
    return reading.trace

"""Retrieval heads: heads that attend to the token to be copied, within the answer in the prompt."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from ...display import Displayed
from ...errors import LabError
from .top_keys import recorded_heads, require_attention, top_keys

if TYPE_CHECKING:
    from ...trace.trace import Trace
    from .top_keys import Floats

#: Score from which on Wu et al. (2024) call a head a retrieval head.
RETRIEVAL_THRESHOLD = 0.1
_SENTENCE = re.compile(r"(?<=[.!?])\s+")
_WORD = re.compile(r"\w+")


class QuestionLike(Protocol):
    """A question with its answer, as `gemma_lab.evals.Question` is."""

    @property
    def prompt(self) -> str:
        """The prompt, including the text that the question is about."""

    @property
    def answer(self) -> str:
        """The one right answer."""


@dataclass(frozen=True)
class AnswerSpan:
    """Position of the answer in a prompt.

    Attributes
    ----------
    start, stop
        Rows of the token table, `stop` exclusive.
    sentence
        The sentence that contains it.
    """

    start: int
    stop: int
    sentence: str = ""


@dataclass(frozen=True, eq=False)
class RetrievalScores(Displayed):
    """Retrieval score of every head.

    Attributes
    ----------
    heads
        Layer and head of each column of the arrays.
    each
        Score in each prompt, float64 ``[prompts, heads]``.
    chance
        How often the head's top key would be within the answer of another prompt, ``[heads]``: an upper bound
        of the score by position alone.
    """

    heads: tuple[tuple[int, int], ...]
    each: Floats
    chance: Floats

    @property
    def scores(self) -> Floats:
        """Mean score over the prompts, ``[heads]``."""
        return np.asarray(self.each.mean(axis=0))

    def best(self, count: int = 1) -> tuple[tuple[int, int], ...]:
        """Return the heads with the highest scores, the best first."""
        return tuple(self.heads[place] for place in np.argsort(-self.scores, kind="stable")[:count])

    def to_pandas(self) -> Any:
        """Return one row per head: layer, head, score, chance."""
        import pandas as pd

        layers, numbers = zip(*self.heads, strict=True)
        return pd.DataFrame({"layer": layers, "head": numbers, "score": self.scores, "chance": self.chance})

    def __repr__(self) -> str:
        (layer, head), found = self.best()[0], int((self.scores >= RETRIEVAL_THRESHOLD).sum())
        return (
            f"RetrievalScores({len(self.each)} prompts × {len(self.heads)} heads: {found} score at least "
            f"{RETRIEVAL_THRESHOLD}, best layer {layer} head {head} at {self.scores.max():.2f})"
        )


def locate_answer(trace: Trace, question: QuestionLike) -> AnswerSpan:
    """Return the position of a question's answer in its prompt.

    Of the sentences that contain the answer as a separate word, the one with the most words in common with
    the question (the last sentence) is taken.

    Parameters
    ----------
    trace
        Of the prompt.
    question
        With a ``prompt`` and its ``answer``.

    Raises
    ------
    LabError
        If no sentence contains the answer, or the trace is of another prompt.
    """
    *sentences, asked = _SENTENCE.split(question.prompt.strip())
    alone = re.compile(rf"(?<!\w){re.escape(question.answer)}(?!\w)")
    holding = [sentence for sentence in sentences if alone.search(sentence)]
    if not holding:
        raise LabError(
            f"No sentence of the prompt contains the answer {question.answer!r}.",
            hint="Retrieval scores need an answer that is copied from the text.",
        )
    common = set(_WORD.findall(asked.casefold()))
    sentence = max(holding, key=lambda text: len(common & set(_WORD.findall(text.casefold()))))
    table = trace.tokens
    length = int((~table.generated).sum())
    ends = np.cumsum([len(text) for text in table.texts[:length]])
    at = "".join(table.texts[:length]).find(sentence)
    inside = alone.search(sentence)
    if at < 0 or inside is None:
        raise LabError(
            "The trace is of another prompt.", hint="Trace question.prompt, and give both in the same order."
        )
    # the first token with a character of the answer, and the one after the last
    start = int(np.searchsorted(ends, at + inside.start(), side="right"))
    stop = int(np.searchsorted(ends, at + inside.end(), side="left")) + 1
    return AnswerSpan(start, stop, sentence)


def retrieval_scores(traces: Sequence[Trace], spans: Sequence[AnswerSpan]) -> RetrievalScores:
    r"""Return the fraction of each answer that every head copies.

    At each step of the answer, a head copies the generated token if its top key is the same token and lies
    within the answer span. With g the tokens of the span that a head copied and k all of them, the score is
    :math:`|g \cap k| / |k|` (Wu et al. 2024, arXiv:2404.15574, §2; here the span is the answer, not its
    sentence), averaged over prompts. They call a head with a score of at least 0.1 a retrieval head.

    Parameters
    ----------
    traces
        With attention (top keys) and the generated answer.
    spans
        Of each trace, from `locate_answer`.

    Returns
    -------
    RetrievalScores

    Raises
    ------
    LabError
        If there are none, their numbers differ, or a trace has no attention or no answer.

    Notes
    -----
    The query of a generated token is the row before it. Tokens also count as the same if the
    generated one lacks the leading space or is a prefix of the key's: an answer starts without the space that
    its words have in the text, and may be split into smaller tokens (wider than in the paper). Chance is the
    fraction of these queries whose top key lies within the answer span of *another* trace; the same token is
    not required, so it is an upper bound.
    """
    if not traces or len(traces) != len(spans):
        raise LabError(
            f"There are {len(traces)} traces and {len(spans)} answer spans.",
            hint="Pass one span per trace, from locate_answer.",
        )
    heads = recorded_heads(require_attention(traces[0]))
    each = np.zeros((len(traces), len(heads)))
    top: list[Any] = []
    for number, (trace, span) in enumerate(zip(traces, spans, strict=True)):
        if recorded_heads(require_attention(trace)) != heads:
            raise LabError("The traces do not have the same heads.", hint="Record the same layers and heads.")
        keys, generated = _top_key(trace)
        names = _names(trace)
        inside = (keys >= span.start) & (keys < span.stop)
        copied = inside & _same(names[np.maximum(keys, 0)], generated)
        for row in range(len(heads)):
            positions = set(keys[row, copied[row]].tolist())
            each[number, row] = len(positions) / (span.stop - span.start)
        top.append(keys)
    return RetrievalScores(heads, each, _by_position(top, spans))


def _top_key(trace: Trace) -> tuple[Any, Any]:
    """Return the top key, ``[heads, steps]``, and the piece of the generated token, ``[steps]``."""
    if trace.generation is None or not len(trace.generation):
        raise LabError("The trace has no generated answer.", hint="Trace with max_new_tokens=8.")
    prompt = int((~trace.tokens.generated).sum())
    count = min(len(trace.generation), len(trace) - prompt + 1)
    found = top_keys(require_attention(trace), np.arange(prompt - 1, prompt - 1 + count))
    names = dict(zip(trace.tokens.ids.tolist(), _names(trace).tolist(), strict=True))
    # the last generated token has no row; its piece is known if the id occurs elsewhere
    generated = [names.get(index, "") for index in trace.generation.ids[:count].tolist()]
    return found.keys[:, :, 0], np.asarray(generated, dtype=object)


def _same(keys: Any, generated: Any) -> Any:
    """Return whether the generated token is a prefix of the key's token, ``[heads, steps]``."""
    begins = [
        [bool(name) and other.startswith(name) for other, name in zip(row, generated, strict=True)]
        for row in keys
    ]
    return np.asarray(begins, dtype=bool).reshape(keys.shape)


def _names(trace: Trace) -> Any:
    """Return the vocabulary pieces of the tokens, without a leading space."""
    return np.asarray([str(piece).lstrip("▁") for piece in trace.tokens.pieces], dtype=object)


def _by_position(top: Sequence[Any], spans: Sequence[AnswerSpan]) -> Floats:
    if len(top) < 2:
        return np.zeros(top[0].shape[0])
    found = [
        ((keys >= span.start) & (keys < span.stop)).mean(axis=1)
        for number, keys in enumerate(top)
        for other, span in enumerate(spans)
        if other != number
    ]
    return np.asarray(np.mean(found, axis=0))

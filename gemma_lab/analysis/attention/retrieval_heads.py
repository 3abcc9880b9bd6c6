"""RetrievalScores heads: which heads looked at the very token that was said, where the answer stands."""

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

#: Score from which on Wu et al. call a head a retrieval head.
RETRIEVAL_THRESHOLD = 0.1
_SENTENCE = re.compile(r"(?<=[.!?])\s+")
_WORD = re.compile(r"\w+")


class QuestionLike(Protocol):
    """A question with its answer, as `gemma_lab.evals.questions.Question` is."""

    @property
    def prompt(self) -> str:
        """What is asked, the text before it included."""

    @property
    def answer(self) -> str:
        """The one right answer."""


@dataclass(frozen=True)
class AnswerSpan:
    """Where in a prompt the answer stands.

    Attributes
    ----------
    start, stop
        Rows of the token table, `stop` exclusive.
    sentence
        The sentence that it stands in.
    """

    start: int
    stop: int
    sentence: str = ""


@dataclass(frozen=True, eq=False)
class RetrievalScores(Displayed):
    """The retrieval score of every head.

    Attributes
    ----------
    heads
        Layer and head, one a column of the arrays.
    each
        Score in each prompt, float64 ``[prompts, heads]``.
    chance
        How often the place that a head looked at most would be the answer of another prompt, ``[heads]``: a
        head that goes by position alone scores no more.
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
        """Return one row a head: layer, head, score, chance."""
        import pandas as pd

        layers, numbers = zip(*self.heads, strict=True)
        return pd.DataFrame({"layer": layers, "head": numbers, "score": self.scores, "chance": self.chance})

    def __repr__(self) -> str:
        (layer, head), found = self.best()[0], int((self.scores >= RETRIEVAL_THRESHOLD).sum())
        return (
            f"RetrievalScores({len(self.each)} prompts × {len(self.heads)} heads: {found} from {RETRIEVAL_THRESHOLD}, best "
            f"layer {layer} head {head} at {self.scores.max():.2f})"
        )


def locate_answer(trace: Trace, question: QuestionLike) -> AnswerSpan:
    """Return where the answer to a question stands in its prompt.

    Of the sentences that hold the answer as a word of its own, it is the one that has most words in common
    with the question, which is the last sentence.

    Parameters
    ----------
    trace
        Of the prompt.

    Raises
    ------
    LabError
        If no sentence holds the answer, or the prompt of the trace is another.
    """
    *told, asks = _SENTENCE.split(question.prompt.strip())
    alone = re.compile(rf"(?<!\w){re.escape(question.answer)}(?!\w)")
    holding = [sentence for sentence in told if alone.search(sentence)]
    if not holding:
        raise LabError(
            f"No sentence of the prompt holds the answer {question.answer!r} in one piece.",
            hint="RetrievalScores scores need an answer that is copied from the text.",
        )
    common = set(_WORD.findall(asks.casefold()))
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
    # the first token that shows something of the answer, and the one after the last
    first, last = at + inside.start(), at + inside.end()
    start = int(np.searchsorted(ends, first, side="right"))
    stop = int(np.searchsorted(ends, last, side="left")) + 1
    return AnswerSpan(start, stop, sentence)


def retrieval_scores(traces: Sequence[Trace], needles: Sequence[AnswerSpan]) -> RetrievalScores:
    r"""Return how much of each answer every head copied.

    At each step of the answer a head copies the token that is said if, of all keys, it looks most at one that
    is the same token and lies in the needle. With g the tokens of the needle that a head copied and k all of
    them, the score is :math:`|g \cap k| / |k|` (Wu et al. 2024, arXiv:2404.15574, §2), here with the answer
    alone as the needle, not its sentence, and averaged over prompts. From 0.1 on they call it a retrieval
    head.

    Parameters
    ----------
    traces
        With attention (top keys) and the generated answer.
    needles
        Of each trace, from `locate_answer`.

    Raises
    ------
    LabError
        If there are none, not as many of both, or a trace has no attention or no answer.

    Notes
    -----
    A token is said at the row before it: there stands the query. A token is the same also if
    it lacks the space before, or begins what is looked at: an answer starts without the space that its words
    have in the text, and may be written in smaller pieces (wider than in the paper). Chance is the share of
    these queries whose most looked-at key lies in the needle of *another* trace; the same token is not asked
    for, so it is an upper bound.
    """
    if not traces or len(traces) != len(needles):
        raise LabError(
            f"{len(traces)} traces and {len(needles)} needles do not go together.",
            hint="Give one needle a trace, from locate_answer.",
        )
    heads = recorded_heads(require_attention(traces[0]))
    each = np.zeros((len(traces), len(heads)))
    lands: list[Any] = []
    for number, (trace, needle) in enumerate(zip(traces, needles, strict=True)):
        if recorded_heads(require_attention(trace)) != heads:
            raise LabError("The traces do not have the same heads.", hint="Record the same layers and heads.")
        looked, said = _most(trace)
        names = _names(trace)
        inside = (looked >= needle.start) & (looked < needle.stop)
        copied = inside & _same(names[np.maximum(looked, 0)], said)
        for row in range(len(heads)):
            places = set(looked[row, copied[row]].tolist())
            each[number, row] = len(places) / (needle.stop - needle.start)
        lands.append(looked)
    return RetrievalScores(heads, each, _by_position(lands, needles))


def _most(trace: Trace) -> tuple[Any, Any]:
    """Return the key looked at most, ``[heads, steps]``, and the name of what is said, ``[steps]``."""
    if trace.generation is None or not len(trace.generation):
        raise LabError("This trace has no answer.", hint="Trace with max_new_tokens=8.")
    prompt = int((~trace.tokens.generated).sum())
    count = min(len(trace.generation), len(trace) - prompt + 1)
    found = top_keys(require_attention(trace), np.arange(prompt - 1, prompt - 1 + count))
    names = dict(zip(trace.tokens.ids.tolist(), _names(trace).tolist(), strict=True))
    # the token that was said last has no row: it is known if it was read before
    said = [names.get(index, "") for index in trace.generation.ids[:count].tolist()]
    return found.keys[:, :, 0], np.asarray(said, dtype=object)


def _same(looked: Any, said: Any) -> Any:
    """Return whether what is said begins what is looked at, ``[heads, steps]``."""
    begins = [
        [bool(name) and other.startswith(name) for other, name in zip(row, said, strict=True)]
        for row in looked
    ]
    return np.asarray(begins, dtype=bool).reshape(looked.shape)


def _names(trace: Trace) -> Any:
    """Return the tokens as the vocabulary writes them, without a space before."""
    return np.asarray([str(piece).lstrip("▁") for piece in trace.tokens.pieces], dtype=object)


def _by_position(lands: Sequence[Any], needles: Sequence[AnswerSpan]) -> Floats:
    if len(lands) < 2:
        return np.zeros(lands[0].shape[0])
    found = [
        ((looked >= needle.start) & (looked < needle.stop)).mean(axis=1)
        for number, looked in enumerate(lands)
        for other, needle in enumerate(needles)
        if other != number
    ]
    return np.asarray(np.mean(found, axis=0))

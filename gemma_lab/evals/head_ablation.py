"""Knocking heads out and asking again: whether those that retrieve are needed, or any would be."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from ..analysis.attention.retrieval_heads import (
    RETRIEVAL_THRESHOLD,
    QuestionLike,
    RetrievalScores,
    locate_answer,
    retrieval_scores,
)
from ..display import Displayed
from ..errors import LabError
from ..trace.records.attention import AttentionRequest
from .statistics import wilson_interval

if TYPE_CHECKING:
    from collections.abc import Iterable

    from .model import EvaluatedModel

_LONGEST = 12  # tokens; an answer that is copied from the text is shorter

Heads = tuple[tuple[int, int], ...]


class GradedQuestion(QuestionLike, Protocol):
    """A question that grades its answers, as `gemma_lab.evals.questions.Question` does."""

    def is_correct(self, said: str) -> bool:
        """Return whether a reply gives the answer."""


@dataclass(frozen=True)
class AblationCondition:
    """What became of the answers under one knock-out.

    Attributes
    ----------
    heads
        Layer and head of what was knocked out; none is the model as it is.
    asked, right
        How many questions, and how many answers were right.
    """

    heads: Heads
    asked: int
    right: int

    @property
    def accuracy(self) -> float:
        """Share that was right, 0 to 1."""
        return self.right / self.asked

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % Wilson interval of `accuracy`."""
        return wilson_interval(self.right, self.asked)


@dataclass(frozen=True)
class HeadAblation(Displayed):
    """The same questions with nothing, the best retrieval heads, and random other heads knocked out.

    Attributes
    ----------
    model
        What the model is called.
    intact, best
        Without a knock-out, and without the heads that retrieve most.
    random
        Without as many other heads, drawn anew each time.
    seed
        Of the draws.
    """

    model: str
    intact: AblationCondition
    best: AblationCondition
    random: tuple[AblationCondition, ...]
    seed: int

    @property
    def p(self) -> float:
        """How often random heads break as much as the best, by chance: ``(1 + b) ÷ (1 + draws)``.

        b counts the draws that left as few right answers. With n draws it is at least 1 ÷ (1 + n).
        """
        as_bad = sum(condition.right <= self.best.right for condition in self.random)
        return (1 + as_bad) / (1 + len(self.random))

    def to_pandas(self) -> Any:
        """Return one row a condition: condition, heads, asked, right, accuracy, low, high."""
        import pandas as pd

        named = [("intact", self.intact), ("best", self.best), *(("random", one) for one in self.random)]
        rows = [
            (name, " ".join(f"{layer}.{head}" for layer, head in one.heads), one.asked, one.right,
             one.accuracy, *one.interval)
            for name, one in named
        ]  # fmt: skip
        columns = ["condition", "heads", "asked", "right", "accuracy", "low", "high"]
        return pd.DataFrame(rows, columns=columns)

    def __repr__(self) -> str:
        others = np.mean([one.accuracy for one in self.random])
        return (
            f"HeadAblation({self.model}, {self.intact.asked} questions: intact {self.intact.accuracy:.0%}, "
            f"without {format_heads(self.best.heads)} {self.best.accuracy:.0%}, without as many random heads "
            f"{others:.0%} ({len(self.random)} draws))"
        )


def score_retrieval_heads(
    lab: EvaluatedModel, questions: Iterable[QuestionLike], *, progress: bool = True
) -> RetrievalScores:
    """Ask questions and return the retrieval score of every head of a model.

    Parameters
    ----------
    lab
        The loaded model.
    questions
        Their answers stand in their prompts, e.g. ``load_questions(only=["recall"])`` of
        `gemma_lab.evals.questions`; those whose answer does not stand there in one piece are left out.

    Raises
    ------
    LabError
        If none is left.
    """
    from tqdm.auto import tqdm

    traces, needles = [], []
    request = AttentionRequest(top_k=1, pooled=False, statistics=False)
    listed = list(questions)
    for question in tqdm(listed, desc=f"retrieval of {lab.name}", disable=not progress, leave=False):
        trace = lab.trace(question.prompt, max_new_tokens=_LONGEST, attention=request)
        try:
            needles.append(locate_answer(trace, question))
        except LabError:
            continue  # an answer in two pieces cannot be a needle
        traces.append(trace)
    if not traces:
        raise LabError(
            f"None of {len(listed)} questions has its answer in its prompt.",
            hint="Ask for facts: load_questions(only=['recall']).",
        )
    return retrieval_scores(traces, needles)


def ablate_retrieval_heads(
    lab: EvaluatedModel, questions: Iterable[GradedQuestion], retrieval: RetrievalScores, *, heads: int | None = None, draws: int = 5,
    seed: int = 0, progress: bool = True,
) -> HeadAblation:  # fmt: skip
    """Ask the same questions with heads knocked out: the best at retrieval, and random others.

    The experiment of Wu et al. 2024 (arXiv:2404.15574, §4.1), who mask the top retrieval heads and as many
    random others.

    Parameters
    ----------
    lab
        The loaded model.
    questions
        Others than those that the scores come from, or the heads are chosen by what they are tested on.
    retrieval
        From `score_retrieval_heads`.
    heads
        How many to knock out at once; by default all from the threshold of a retrieval head on (0.1), and one
        at least. A model that has several may do without any single one.
    draws
        How many times random heads are drawn, without the best ones.
    seed
        Of the draws.

    Raises
    ------
    LabError
        If there are no questions, or not enough heads to draw from.
    """
    from tqdm.auto import tqdm

    asked = list(questions)
    if heads is None:
        heads = max(1, int((retrieval.scores >= RETRIEVAL_THRESHOLD).sum()))
    best = retrieval.best(heads)
    others = [head for head in retrieval.heads if head not in best]
    if not asked or not 0 < heads <= len(others) or draws < 1:
        raise LabError(
            f"{len(asked)} questions, {heads} of {len(retrieval.heads)} heads, {draws} draws: no experiment.",
            hint="Give questions, at least one draw, and at most half of the heads.",
        )
    random = np.random.default_rng(seed)
    drawn = [
        tuple(others[place] for place in sorted(random.choice(len(others), heads, replace=False)))
        for _ in range(draws)
    ]
    todo = [(), best, *drawn]
    done = [
        _ask(lab, asked, off)
        for off in tqdm(todo, desc=f"knock-outs of {lab.name}", disable=not progress, leave=False)
    ]
    return HeadAblation(lab.name, done[0], done[1], tuple(done[2:]), seed)


def format_heads(heads: Sequence[tuple[int, int]]) -> str:
    """Return heads in words: ``"layer 5 head 2"``, several as ``"5.2, 5.0"``."""
    if len(heads) == 1:
        return "layer {} head {}".format(*heads[0])
    return ", ".join(f"{layer}.{head}" for layer, head in heads)


def _ask(lab: EvaluatedModel, questions: Sequence[GradedQuestion], off: Heads) -> AblationCondition:
    by_layer: dict[Any, list[int]] = {}
    for layer, head in off:
        by_layer.setdefault(layer, []).append(head)
    with lab.edit(ablate_heads=by_layer):
        right = sum(
            question.is_correct(
                lab.chat(question.prompt, temperature=0, max_new_tokens=_LONGEST, top_logprobs=0).text
            )
            for question in questions
        )
    return AblationCondition(off, len(questions), right)

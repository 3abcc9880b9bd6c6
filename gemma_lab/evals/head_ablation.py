"""Head ablation: answer questions without the best retrieval heads, and without as many random heads."""

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

_MAX_TOKENS = 12  # an answer copied from the text is shorter

Heads = tuple[tuple[int, int], ...]


class GradedQuestion(QuestionLike, Protocol):
    """A question that grades its replies, as `gemma_lab.evals.Question` does."""

    def is_correct(self, reply: str) -> bool:
        """Return whether a reply gives the answer."""


@dataclass(frozen=True)
class AblationCondition:
    """Answers to the questions under one ablation.

    Attributes
    ----------
    heads
        Layer and head of the ablated heads; none is the unchanged model.
    asked, right
        Number of questions, and of correct answers.
    """

    heads: Heads
    asked: int
    right: int

    @property
    def accuracy(self) -> float:
        """Fraction of correct answers, 0 to 1."""
        return self.right / self.asked

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % Wilson interval of `accuracy`."""
        return wilson_interval(self.right, self.asked)


@dataclass(frozen=True)
class HeadAblation(Displayed):
    """Answers to the same questions with no heads, the best retrieval heads, and random other heads ablated.

    Attributes
    ----------
    model
        Name of the model.
    intact, best
        Without ablation, and without the heads with the highest retrieval scores.
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
        """P value of the best heads against random ones, ``(1 + b) ÷ (1 + draws)``.

        b is the number of draws with as few correct answers. With n draws the smallest value is 1 ÷ (1 + n).
        """
        as_bad = sum(condition.right <= self.best.right for condition in self.random)
        return (1 + as_bad) / (1 + len(self.random))

    def to_pandas(self) -> Any:
        """Return one row per condition: condition, heads, asked, right, accuracy, low, high."""
        import pandas as pd

        named = [
            ("intact", self.intact),
            ("best", self.best),
            *(("random", condition) for condition in self.random),
        ]
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
    """Answer questions and return the retrieval score of every head of a model.

    Parameters
    ----------
    lab
        The loaded model.
    questions
        Questions whose answers are in their prompts, e.g. ``load_questions(skills=["recall"])``. Questions
        whose answer is not one contiguous span are skipped.
    progress
        Show a progress bar.

    Returns
    -------
    RetrievalScores

    Raises
    ------
    LabError
        If no question remains.
    """
    from tqdm.auto import tqdm

    traces, needles = [], []
    request = AttentionRequest(top_k=1, pooled=False, statistics=False)
    listed = list(questions)
    for question in tqdm(listed, desc=f"retrieval of {lab.name}", disable=not progress, leave=False):
        trace = lab.trace(question.prompt, max_new_tokens=_MAX_TOKENS, attention=request)
        try:
            needles.append(locate_answer(trace, question))
        except LabError:
            continue  # the answer is not one span
        traces.append(trace)
    if not traces:
        raise LabError(
            f"None of {len(listed)} questions contains its answer as one span of the prompt.",
            hint="Use questions about facts: load_questions(skills=['recall']).",
        )
    return retrieval_scores(traces, needles)


def ablate_retrieval_heads(
    lab: EvaluatedModel,
    questions: Iterable[GradedQuestion],
    retrieval: RetrievalScores,
    *,
    heads: int | None = None,
    draws: int = 5,
    seed: int = 0,
    progress: bool = True,
) -> HeadAblation:
    """Answer the same questions without the best retrieval heads, and without random other heads.

    The experiment of Wu et al. 2024 (arXiv:2404.15574, §4.1), who mask the top retrieval heads and as many
    random others.

    Parameters
    ----------
    lab
        The loaded model.
    questions
        Not those that the scores come from; otherwise heads would be chosen by what they are tested on.
    retrieval
        From `score_retrieval_heads`.
    heads
        Number of heads to ablate at once. Default: all from the threshold of a retrieval head on (0.1), at
        least one. A model with several may be able to do without any single one.
    draws
        Number of draws of random heads, the best ones excluded.
    seed
        Of the draws.
    progress
        Show a progress bar.

    Raises
    ------
    LabError
        If there are no questions, or not enough heads to draw from.
    """
    from tqdm.auto import tqdm

    questions = list(questions)
    if heads is None:
        heads = max(1, int((retrieval.scores >= RETRIEVAL_THRESHOLD).sum()))
    best = retrieval.best(heads)
    others = [head for head in retrieval.heads if head not in best]
    if not questions or not 0 < heads <= len(others) or draws < 1:
        raise LabError(
            f"{len(questions)} questions, {heads} of {len(retrieval.heads)} heads, {draws} draws: too few.",
            hint="Give questions, at least one draw, and at most half of the heads.",
        )
    random = np.random.default_rng(seed)
    drawn = [
        tuple(others[index] for index in sorted(random.choice(len(others), heads, replace=False)))
        for _ in range(draws)
    ]
    conditions = [(), best, *drawn]
    results = [
        _ask(lab, questions, ablated)
        for ablated in tqdm(
            conditions, desc=f"head ablation of {lab.name}", disable=not progress, leave=False
        )
    ]
    return HeadAblation(lab.name, results[0], results[1], tuple(results[2:]), seed)


def format_heads(heads: Sequence[tuple[int, int]]) -> str:
    """Format heads: ``"layer 5 head 2"``, several as ``"5.2, 5.0"``."""
    if len(heads) == 1:
        return "layer {} head {}".format(*heads[0])
    return ", ".join(f"{layer}.{head}" for layer, head in heads)


def _ask(lab: EvaluatedModel, questions: Sequence[GradedQuestion], ablated: Heads) -> AblationCondition:
    by_layer: dict[Any, list[int]] = {}
    for layer, head in ablated:
        by_layer.setdefault(layer, []).append(head)
    with lab.edit(ablate_heads=by_layer):
        right = sum(
            question.is_correct(
                lab.chat(question.prompt, temperature=0, max_new_tokens=_MAX_TOKENS, top_logprobs=0).text
            )
            for question in questions
        )
    return AblationCondition(ablated, len(questions), right)

"""Retrieval scores of a model's heads from questions that it answers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..analysis.attention.retrieval_heads import (
    QuestionLike,
    RetrievalScores,
    locate_answer,
    retrieval_scores,
)
from ..errors import LabError
from ..trace.records.attention import AttentionRequest

if TYPE_CHECKING:
    from collections.abc import Iterable

    from .model import EvaluatedModel

_MAX_TOKENS = 12  # an answer copied from the text is shorter


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

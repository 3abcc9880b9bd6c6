"""Retrieval scores by asking, against a model of which it is known where it attends."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from support.forged_heads import build_attention, even, looking, trace_of

from gemma_lab.errors import LabError
from gemma_lab.evals.head_retrieval import score_retrieval_heads


@dataclass(frozen=True)
class Ask:
    prompt: str
    answer: str


QUESTIONS = [Ask(f"Ada has {n}. What has Ada?", str(n)) for n in range(10)]


class Copying:
    """Stands in for a lab: its first head attends to the token that it generates."""

    name = "forged"

    def trace(self, prompt, **_):
        texts = ["Ada ", "has ", prompt[8], ". ", "What ", "has ", "Ada?", ""]
        heads = [looking(8, [-1] * 7 + [2]), even(8)]
        return trace_of(build_attention([heads]), texts=texts, ids=[1, 2, 3, 4, 5, 2, 6, 7], said=(3,))


def test_scores_are_had_by_asking():
    found = score_retrieval_heads(
        Copying(), [*QUESTIONS[:3], Ask("Ada has 4. What has Ada?", "x")], progress=False
    )
    assert found.each.tolist() == [[1.0, 0.0]] * 3
    with pytest.raises(LabError, match="1 questions"):
        score_retrieval_heads(Copying(), [Ask("Ada has 4. What has Ada?", "x")], progress=False)


def test_on_a_model_it_runs_and_leaves_nothing_behind(tiny_lab):
    lab = tiny_lab("26B-A4B")
    before = lab.chat(QUESTIONS[0].prompt, temperature=0, max_new_tokens=4)
    assert len(score_retrieval_heads(lab, QUESTIONS[:2], progress=False).heads) == 24
    assert lab.chat(QUESTIONS[0].prompt, temperature=0, max_new_tokens=4) == before

"""Knocking out the heads that retrieve, against a model of which it is known what they do."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from types import SimpleNamespace

import numpy as np
import pytest
from support.forged_heads import build_attention, even, looking, trace_of

from gemma_lab.analysis.attention.retrieval_heads import RetrievalScores
from gemma_lab.errors import LabError
from gemma_lab.evals.head_ablation import (
    AblationCondition,
    HeadAblation,
    ablate_retrieval_heads,
    format_heads,
    score_retrieval_heads,
)


@dataclass(frozen=True)
class Ask:
    prompt: str
    answer: str

    def is_correct(self, reply):
        return reply == self.answer


QUESTIONS = [Ask(f"Ada has {n}. What has Ada?", str(n)) for n in range(10)]


class Needing:
    """Stands in for a lab: its answers are right as long as one of some heads is there."""

    name = "forged"

    def __init__(self, needed):
        self.needed, self.off, self.seen = set(needed), set(), []

    @contextmanager
    def edit(self, *, ablate_heads):
        self.off = {(layer, head) for layer, heads in ablate_heads.items() for head in heads}
        self.seen.append(tuple(sorted(self.off)))
        try:
            yield
        finally:
            self.off = set()

    def chat(self, prompt, **_):
        return SimpleNamespace(text="no" if self.needed <= self.off else prompt.split(".")[0][8:])

    def trace(self, prompt, **_):
        texts = ["Ada ", "has ", prompt[8], ". ", "What ", "has ", "Ada?", ""]
        heads = [looking(8, [-1] * 7 + [2]), even(8)]
        return trace_of(build_attention([heads]), texts=texts, ids=[1, 2, 3, 4, 5, 2, 6, 7], said=(3,))


def ranked(count=8, found=2):
    scores = np.zeros((1, count))
    scores[0, :found] = np.linspace(0.9, 0.5, found)
    return RetrievalScores(tuple((1, head) for head in range(count)), scores, np.zeros(count))


def test_the_heads_that_are_needed_break_it_and_random_ones_do_not():
    lab = Needing([(1, 0), (1, 1)])
    found = ablate_retrieval_heads(lab, QUESTIONS, ranked(), draws=9, progress=False)
    assert found.intact == AblationCondition((), 10, 10)
    assert found.best == AblationCondition(((1, 0), (1, 1)), 10, 0)
    assert [one.right for one in found.random] == [10] * 9
    assert found.p == pytest.approx(0.1)
    assert lab.seen[0] == ()
    assert all(len(off) == 2 and not {(1, 0), (1, 1)} & set(off) for off in lab.seen[2:])
    assert repr(found) == (
        "HeadAblation(forged, 10 questions: intact 100%, without 1.0, 1.1 0%, without as many random heads "
        "100% (9 draws))"
    )


def test_a_model_that_has_others_is_not_broken_by_one():
    found = ablate_retrieval_heads(
        Needing([(1, 0), (1, 1)]), QUESTIONS, ranked(), heads=1, draws=2, progress=False
    )
    assert found.best == AblationCondition(((1, 0),), 10, 10)
    assert found.p == 1.0


def test_draws_repeat_with_the_seed():
    one, two, other = (
        ablate_retrieval_heads(
            Needing([]), QUESTIONS[:1], ranked(40), draws=4, seed=seed, progress=False
        ).random
        for seed in (0, 0, 1)
    )
    assert one == two != other


def test_intervals_are_wilsons_and_frames_have_a_row_a_condition():
    condition = AblationCondition(((1, 0),), 20, 10)
    assert condition.accuracy == 0.5
    assert condition.interval == pytest.approx((0.2993, 0.7007), abs=1e-4)
    frame = HeadAblation("m", condition, condition, (condition, condition), 0).to_pandas()
    assert frame.condition.tolist() == ["intact", "best", "random", "random"]
    assert format_heads(((5, 2),)) == "layer 5 head 2"


@pytest.mark.parametrize("wrong", [{"heads": 0}, {"heads": 5}, {"draws": 0}])
def test_what_is_no_experiment_is_refused(wrong):
    with pytest.raises(LabError, match="draws"):
        ablate_retrieval_heads(Needing([]), QUESTIONS, ranked(), progress=False, **wrong)
    with pytest.raises(LabError, match="0 questions"):
        ablate_retrieval_heads(Needing([]), [], ranked(), progress=False)


def test_scores_are_had_by_asking():
    found = score_retrieval_heads(
        Needing([]), [*QUESTIONS[:3], Ask("Ada has 4. What has Ada?", "x")], progress=False
    )
    assert found.each.tolist() == [[1.0, 0.0]] * 3
    with pytest.raises(LabError, match="1 questions"):
        score_retrieval_heads(Needing([]), [Ask("Ada has 4. What has Ada?", "x")], progress=False)


def test_on_a_model_it_runs_and_leaves_nothing_behind(tiny_lab):
    lab = tiny_lab("26B-A4B")
    before = lab.chat(QUESTIONS[0].prompt, temperature=0, max_new_tokens=4)
    retrieval = score_retrieval_heads(lab, QUESTIONS[:2], progress=False)
    assert len(retrieval.heads) == 24
    found = ablate_retrieval_heads(lab, QUESTIONS[:2], retrieval, heads=2, draws=1, progress=False)
    assert found.intact.asked == found.best.asked == 2
    assert lab.chat(QUESTIONS[0].prompt, temperature=0, max_new_tokens=4) == before

"""What training varies leaves the check-up's questions and the tokenizer's corpus as they were."""

from __future__ import annotations

import hashlib
import random

import pytest

from gemma_lab.evals.questions import load_questions, named_skills, skill_names
from gemma_lab.minis.model_card import _questions
from gemma_lab.minis.tasks import arithmetic, calling, recall, records
from gemma_lab.minis.tasks.variation import SHARE, varies


@pytest.mark.parametrize("skill", [*skill_names(), *named_skills()])
def test_the_tasks_draw_the_stored_questions_of_the_check_up(skill):
    stored = load_questions(skills=skill)[:30]
    assert _questions(skill, each=30, seed=1) == stored


@pytest.mark.parametrize(
    ("task", "digest"),
    [(recall, "f9c83770e449a5d3"), (arithmetic, "b498121c11635d95"), (calling, "c2dbcc23f4c5bd63"),
     (records, "0a48b6adf17cf612")],
)  # fmt: skip
def test_the_corpus_is_the_one_that_published_tokenizers_were_trained_on(task, digest):
    """Digests of before training was varied; these four draw questions of training for it."""
    assert hashlib.sha256("\0".join(task.corpus()).encode()).hexdigest()[:16] == digest


def test_what_is_fixed_draws_nothing():
    rng = random.Random(0)
    before = rng.getstate()
    assert not varies(rng, True)
    assert rng.getstate() == before
    assert abs(sum(varies(rng, False) for _ in range(3000)) / 3000 - SHARE) < 0.04

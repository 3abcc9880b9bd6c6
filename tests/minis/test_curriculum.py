"""Steps get harder as skills are learned."""

from __future__ import annotations

import random

import pytest

from gemma_lab.minis.batches import Batcher
from gemma_lab.minis.curriculum import ROW, Curriculum, draw_grid
from gemma_lab.minis.mixture import Mixture
from gemma_lab.minis.tasks import recall
from gemma_lab.minis.tokenizer import build_tokenizer


@pytest.fixture(scope="module")
def tokenizer():
    return build_tokenizer(recall.corpus())


def _curriculum(tokenizer, *, skills=("recall",), **more):
    return Curriculum(Batcher(tokenizer, random.Random(0)), Mixture(skills, rows=2), **more)


def test_more_facts_come_when_recall_is_learned_and_all_of_them_in_the_end(tokenizer):
    one = _curriculum(tokenizer)
    one.draw(0.3)
    assert (one.level, one.batcher.most_facts) == (0, 3)
    one.mixture.losses["recall"] = 0.1
    one.draw(0.3)
    assert (one.level, one.batcher.most_facts) == (1, 4)
    one.draw(0.3)  # judged anew
    assert one.level == 1
    one.draw(0.95)
    assert one.batcher.most_facts == recall.MOST_FACTS


def test_texts_are_long_only_when_some_facts_are_learned_and_then_not_always(tokenizer):
    longest = {}
    for level in (0, 4):
        one = _curriculum(tokenizer, level=level)
        longest[level] = {one.draw(0.3) and one.batcher.longest for _ in range(20)}
    assert longest == {0: {ROW}, 4: {ROW, recall.LONGEST}}


def test_drills_end_when_recall_has_formed(tokenizer):
    early = {row.skill for row in _curriculum(tokenizer).draw(0.3)[1]}
    late = {row.skill for row in _curriculum(tokenizer, level=4).draw(0.3)[1]}
    assert early == {"recall", "repeats", "pairs", "retold", "asked"}
    assert late == {"recall", "asked"}


def test_a_drill_without_loss_is_seldom_part_of_a_step(tokenizer):
    one = _curriculum(tokenizer)
    for _ in range(30):
        one.saw({"repeats": 0.0, "pairs": 3.0, "recall": 2.0})
    drawn = [{row.skill for row in one.draw(0.3)[1]} for _ in range(40)]
    assert 0 <= sum("repeats" in skills for skills in drawn) < 15
    assert all("pairs" in skills for skills in drawn)


def test_every_second_step_has_cues_about_pictures_alone_until_they_are_learned(tokenizer):
    one = _curriculum(tokenizer, skills=("scenes",))
    drawn = [{row.skill for row in one.draw(0.3)[1]} for _ in range(4)]
    assert drawn == [{"shown"}, {"scenes"}, {"shown"}, {"scenes"}]
    for _ in range(40):
        one.saw({"shown": 0.01})
    assert [{row.skill for row in one.draw(0.3)[1]} for _ in range(2)] == [{"scenes"}] * 2


def test_most_pictures_have_the_grid_that_the_processor_makes():
    drawn = [draw_grid(random.Random(seed)) for seed in range(400)]
    assert 0.75 < drawn.count(8) / 400 < 0.95
    assert set(drawn) == {4, 6, 8}

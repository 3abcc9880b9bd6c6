"""Steps get harder as skills are learned."""

from __future__ import annotations

import random

import pytest

from gemma_lab.minis.batches import Batcher
from gemma_lab.minis.curriculum import _BETWEEN, _TURN, ROW, Curriculum, draw_grid
from gemma_lab.minis.mixture import Mixture
from gemma_lab.minis.tasks import recall
from gemma_lab.minis.tokenizer import build_tokenizer


@pytest.fixture(scope="module")
def tokenizer():
    return build_tokenizer(recall.corpus())


def _curriculum(tokenizer, *, skills=("recall",), alone=False, **more):
    one = Curriculum(Batcher(tokenizer, random.Random(0)), Mixture(skills, rows=2), **more)
    one._steps = 0 if alone else _TURN  # past the turn of what is practised alone
    return one


def _turn(curriculum, number):
    """Return what the first step of a turn practises."""
    curriculum._steps = number * (_TURN + _BETWEEN)
    return _skills(curriculum.draw(0.3))


def _skills(practice):
    return {row.skill for row in practice.rows}


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
    early, late = (_skills(_curriculum(tokenizer, level=level).draw(0.3)) for level in (0, 4))
    assert early == {"recall", "repeats", "pairs", "retold", "asked"}
    assert late == {"recall", "asked"}


def test_a_drill_without_loss_is_seldom_part_of_a_step(tokenizer):
    one = _curriculum(tokenizer)
    one.draw(0.3)
    for _ in range(30):
        one.saw({"repeats": 0.0, "pairs": 3.0, "recall": 2.0})
    drawn = [_skills(one.draw(0.3)) for _ in range(40)]
    assert 0 <= sum("repeats" in skills for skills in drawn) < 15
    assert all("pairs" in skills for skills in drawn)


def test_turns_of_one_thing_alone_come_before_everything_until_it_is_learned(tokenizer):
    one = _curriculum(tokenizer, skills=("scenes", "recall"), alone=True)
    shown, far = {"shown"}, {"asked", "retold", "recall"}
    assert [_turn(one, number) for number in range(3)] == [shown, far, shown]
    one._steps = _TURN
    assert "pairs" in _skills(one.draw(0.3))  # everything, drills among it
    _turn(one, 0)
    for _ in range(40):
        one.saw({"shown": 0.01})
    assert "pairs" in _skills(one.draw(0.3))  # it ends when it is learned
    assert _turn(one, 2) == far


def test_in_the_end_everything_is_practised_together(tokenizer):
    one = _curriculum(tokenizer, skills=("scenes",), alone=True)
    assert _skills(one.draw(0.3)) == {"shown"}
    assert _skills(one.draw(0.9)) == {"scenes"}


def test_what_a_turn_loses_does_not_change_the_mixture(tokenizer):
    one = _curriculum(tokenizer, alone=True)
    before = dict(one.mixture.losses)
    for _ in range(_TURN):
        assert _skills(one.draw(0.3)) == {"asked", "retold", "recall"}
        one.saw({"asked": 3.0, "recall": 0.0})
    assert one.mixture.losses == before
    assert "pairs" in _skills(one.draw(0.3))


@pytest.mark.parametrize("skill", ["motion", "compare", "tools"])
def test_skills_that_need_it_have_turns_of_their_own(skill, tokenizer):
    one = _curriculum(tokenizer, skills=("names", skill), alone=True)
    assert _turn(one, 0) == {skill}


def test_what_is_to_be_looked_up_is_practised_under_narrow_windows(tokenizer):
    alone = _curriculum(tokenizer, alone=True)
    windows = {alone.draw(0.3).window for _ in range(30)}
    assert windows == {24, 48, 96}
    mixed = _curriculum(tokenizer)
    assert {mixed.draw(0.3).window for _ in range(60)} == {None, 24, 48, 96}


def test_most_pictures_have_the_grid_that_the_processor_makes():
    drawn = [draw_grid(random.Random(seed)) for seed in range(400)]
    assert 0.75 < drawn.count(8) / 400 < 0.95
    assert set(drawn) == {4, 6, 8}

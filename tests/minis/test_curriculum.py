"""Steps get harder as skills are learned."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from gemma_lab.minis import curriculum
from gemma_lab.minis.batches import Batcher
from gemma_lab.minis.curriculum import _BETWEEN, _TURN, ROW, Curriculum, Practice
from gemma_lab.minis.encoding import Row
from gemma_lab.minis.image_sizes import FULL_GRID, ImageSizes
from gemma_lab.minis.skill_mixture import Mixture
from gemma_lab.minis.tasks import corpus, digits, motion, recall
from gemma_lab.minis.tokenizer import build_tokenizer, token_id


@pytest.fixture(scope="module")
def tokenizer():
    return build_tokenizer(recall.corpus())


def _curriculum(tokenizer, *, skills=("recall",), alone=False, losses=None, **more):
    one = Curriculum(Batcher(tokenizer, random.Random(0)), Mixture(skills, rows=2), alone=losses, **more)
    if not alone:
        one._left = 10**6  # of everything together
    return one


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
    assert one.batcher.most_facts == recall.MAX_FACTS


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
    for turn in (shown, far, shown):
        assert all(_skills(one.draw(0.3)) == turn for _ in range(_TURN))
        drawn = [_skills(one.draw(0.3)) for _ in range(_BETWEEN)]
        assert all("pairs" in skills for skills in drawn)  # everything, drills among it
    assert _skills(one.draw(0.3)) == far
    for _ in range(60):
        one.saw({"asked": 0.01})
    assert "pairs" in _skills(one.draw(0.3))  # it ends when it is learned
    for _ in range(_BETWEEN - 1):
        one.draw(0.3)
    assert _skills(one.draw(0.3)) == shown


def test_a_later_sitting_knows_what_was_learned_alone(tokenizer):
    one = _curriculum(tokenizer, skills=("scenes", "recall"), alone=True, losses={"shown": 0.01})
    assert one.alone == {"shown": 0.01, "far": 1.0}
    assert _skills(one.draw(0.3)) == {"asked", "retold", "recall"}


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


@pytest.mark.parametrize("skill", ["compare", "tools"])
def test_skills_that_need_it_have_turns_of_their_own(skill, tokenizer):
    one = _curriculum(tokenizer, skills=("names", skill), alone=True)
    assert _skills(one.draw(0.3)) - {"called"} == {skill}


def test_what_is_to_be_looked_up_is_practised_under_narrow_windows(tokenizer):
    alone = _curriculum(tokenizer, alone=True)
    windows = {alone.draw(0.3).window for _ in range(30)}
    assert windows == {24, 48, 96}
    mixed = _curriculum(tokenizer)
    assert {mixed.draw(0.3).window for _ in range(60)} == {None, 24, 48, 96}


@pytest.mark.parametrize(("grid", "rows"), [(11, 4), (16, 2), (23, 1)])
def test_steps_with_large_pictures_have_few_rows_of_them_and_no_clips(tokenizer, monkeypatch, grid, rows):
    skills = ("digits", "scenes", "compare", "motion", "names")
    one = _curriculum(tokenizer, skills=skills)
    one.mixture.rows = 12
    drawn, every = [], Counter()
    monkeypatch.setattr(ImageSizes, "draw", lambda self, rng: grid)
    monkeypatch.setattr(one, "_row", lambda name, grid: pytest.fail("nothing is practised alone"))
    monkeypatch.setattr(one.batcher, "row", lambda skill, grid: drawn.append(skill) or Row(skill))
    for _ in range(20):
        drawn.clear()
        assert one.draw(0.3).grid == grid
        assert {"compare", "motion"}.isdisjoint(drawn)
        assert sum(skill in ("digits", "scenes") for skill in drawn) == rows
        every.update(drawn)
    assert every["digits"]
    assert every["scenes"]


def test_what_is_practised_alone_has_no_larger_pictures(tokenizer, monkeypatch):
    monkeypatch.setattr(ImageSizes, "draw", lambda self, rng: 16)
    one = _curriculum(tokenizer, skills=("compare",), alone=True)
    assert one.draw(0.3).grid == 8


def test_with_a_focus_nothing_is_trained_alone_and_its_drills_are_in_every_step():
    tokenizer = build_tokenizer(corpus())
    mixture = Mixture(("recall", "scenes", "tools"), rows=6, focus=("tools",))
    one = Curriculum(Batcher(tokenizer, random.Random(0)), mixture)
    assert one.alone == {}
    assert one.level == len(curriculum._FACTS) - 1
    for _ in range(5):
        rows = [row.skill for row in one.draw(0.1).rows]
        assert rows.count("called") == 2
        assert rows.count("tools") == 2


def test_where_heads_that_retrieve_came_with_the_weights_nothing_is_trained_alone_or_drilled_for_them():
    tokenizer = build_tokenizer(corpus())
    skills = ("recall", "scenes", "tools")
    batcher = Batcher(tokenizer, random.Random(0))
    one = Curriculum(batcher, Mixture(skills, rows=6), alone={"tools": 0.9}, formed=True)
    assert one.alone == {}
    for _ in range(5):
        assert _skills(one.draw(0.1)) <= {*skills, "asked"}
    assert (one.level, one.batcher.most_facts) == (0, 3)  # texts still get longer as they are learned


def test_every_row_of_a_step_has_images_of_its_size_with_clips_in_focus_too():
    skills = ("digits", "motion", "recall")
    words = build_tokenizer([text for task in (digits, motion, recall) for text in task.corpus()])
    one = Curriculum(Batcher(words, random.Random(0)), Mixture(skills, rows=3, focus=("motion",)))
    one.alone = {}
    drilled = set()
    for size in (FULL_GRID, 11):
        one.sizes.draw = lambda _rng, size=size: size
        for _ in range(3):
            practice = one.draw(0.3)
            assert practice.grid == size
            of_clips = ("watched", "eventful", "pointed")
            drilled |= {(row.skill, size) for row in practice.rows if row.skill in of_clips}
            for row in practice.rows:
                frames = len(row.images) + sum(len(clip.frames) for clip in row.clips)
                soft = [row.ids.count(token_id(role)) for role in ("image_token", "video_token")]
                assert sum(soft) == frames * size**2
    assert drilled == {(drill, FULL_GRID) for drill in of_clips}


def test_with_clips_in_focus_eventful_ones_have_turns_of_their_own_until_they_are_learned():
    words = build_tokenizer(corpus())
    mixture = Mixture(("motion", "names"), rows=3, focus=("motion",))
    one = Curriculum(Batcher(words, random.Random(0)), mixture)
    assert one.alone == {"eventful": 1.0}
    drawn = [one.draw(0.1) for _ in range(3)]
    assert {row.skill for practice in drawn for row in practice.rows} == {"eventful", "pointed"}
    assert {practice.grid for practice in drawn} <= {4, 6, FULL_GRID}
    for _ in range(60):
        one.saw({"eventful": 0.01})
    together = one.draw(0.1)
    assert {"motion", "names"} & {row.skill for row in together.rows}
    assert sum(row.skill == "eventful" for row in together.rows) == 2
    assert sum(row.skill == "pointed" for row in together.rows) == 2


def test_a_mini_that_goes_on_without_a_focus_trains_nothing_alone():
    words = build_tokenizer(corpus())
    batcher = Batcher(words, random.Random(0))
    assert Curriculum(batcher, Mixture(("motion", "recall"), rows=3), formed=True).alone == {}
    assert Curriculum(batcher, Mixture(("motion", "recall"), rows=3)).alone


def test_the_vision_encoder_does_not_learn_from_large_images_or_eventful_clips_alone():
    rows = [Row("eventful"), Row("pointed")]
    assert not Practice(rows, FULL_GRID, None).shows
    assert Practice([*rows, Row("motion")], FULL_GRID, None).shows
    assert not Practice([Row("digits")], FULL_GRID + 3, None).shows

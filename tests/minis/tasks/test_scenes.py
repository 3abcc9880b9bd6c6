"""What is asked about a scene follows from what lies in it."""

from __future__ import annotations

import random

import pytest

from gemma_lab.evals.grading import is_correct
from gemma_lab.minis.tasks import drawing, scenes

_SCENE = [
    drawing.Thing("red", "circle", x=0.2, y=0.5, radius=0.15),
    drawing.Thing("red", "square", x=0.8, y=0.2, radius=0.15),
    drawing.Thing("green", "square", x=0.5, y=0.8, radius=0.15),
]


def _asked():
    return {
        (prompt, answer)
        for seed in range(300)
        for _, prompt, answer in scenes.questions(random.Random(seed), _SCENE)
    }


def test_only_what_is_unambiguous_is_asked_and_its_answer_is_right():
    answers = dict(_asked())
    assert len(answers) == len(_asked())
    assert answers["What colour is the circle?"] == "red"
    assert "What colour is the square?" not in answers
    assert answers["Which shape is green?"] == "square"
    assert "Which shape is red?" not in answers
    assert answers["How many objects are there? Answer with a digit."] == "3"
    assert answers["How many red objects are there? Answer with a digit."] == "2"
    assert answers["How many squares are there? Answer with a digit."] == "2"
    assert answers["Is the red circle on the left or on the right?"] == "left"
    assert answers["Is the red square at the top or at the bottom?"] == "top"
    assert "Is the red circle at the top or at the bottom?" not in answers


def test_cues_ask_for_what_is_unambiguous_in_a_word_or_two():
    cues = {scenes.cue(random.Random(seed), _SCENE) for seed in range(300)}
    assert cues == {
        ("circle", "red"), ("green", "square"), ("red circle side", "left"), ("red square side", "right"),
        ("red square height", "top"), ("green square height", "bottom"), ("objects", "3"),
    }  # fmt: skip
    twins = [drawing.Thing("red", "circle", x=x, y=0.5, radius=0.1) for x in (0.2, 0.8)]
    assert scenes.cue(random.Random(0), twins) == ("objects", "2")


@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_training_never_draws_a_held_out_combination_and_evaluation_always_does(count):
    for seed in range(60):
        seen = {one.name for one in scenes.things(random.Random(seed), False, count=count)}
        unseen = {one.name for one in scenes.things(random.Random(seed), True, count=count)}
        assert not seen & drawing.HELD_OUT
        assert unseen & drawing.HELD_OUT


def test_questions_are_repeatable_of_every_kind_and_carry_one_picture():
    for held in (False, True):
        asked = [scenes.ask(random.Random(seed), held) for seed in range(60)]
        again = [scenes.ask(random.Random(seed), held) for seed in range(60)]
        assert [q.prompt for q in asked] == [q.prompt for q in again]
        assert all(
            one.images[0].tobytes() == two.images[0].tobytes() for one, two in zip(asked, again, strict=True)
        )
        assert {q.group for q in asked} == set(scenes.CHANCE)
        assert all(len(q.images) == 1 and q.skill == "scenes" for q in asked)
        assert all(is_correct(f"The answer is {q.answer}.", q.answer) for q in asked)
        assert any(q.more for q in asked) != held


def test_chance_is_what_the_commonest_answer_gets():
    asked = [scenes.ask(random.Random(seed), True) for seed in range(1200)]
    for kind, chance in scenes.CHANCE.items():
        answers = [q.answer for q in asked if q.group == kind]
        best = 1 / 2 if kind == "where" else max(answers.count(one) for one in answers) / len(answers)
        assert abs(best - chance) < 0.08


def test_shapes_are_counted_in_the_plural():
    assert [scenes._plural(shape) for shape in ("star", "cross")] == ["stars", "crosses"]
    assert not any("crosss" in text for text in scenes.corpus())

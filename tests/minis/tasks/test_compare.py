"""Two pictures differ in what the answer says."""

from __future__ import annotations

import random

import numpy as np
import pytest

from gemma_lab.minis.tasks import compare, digits, drawing


@pytest.mark.parametrize("held", [False, True])
def test_questions_are_repeatable_and_carry_two_pictures(held):
    asked, again = ([compare.ask(random.Random(seed), held) for seed in range(60)] for _ in range(2))
    assert [(q.prompt, q.answer) for q in asked] == [(q.prompt, q.answer) for q in again]
    assert {q.group for q in asked} == set(compare.CHANCE)
    for question in asked:
        first, second = question.images
        assert first.size == second.size
        assert first.tobytes() != second.tobytes()
        assert bool(question.more) == (not held)


def test_the_further_questions_agree_with_the_first():
    for seed in range(80):
        question = compare.ask(random.Random(seed), False)
        each = {prompt.split("in the ")[1].split()[0]: said for prompt, said in question.more}
        if question.group == "changed":
            kinds = {said in drawing.COLOURS: set() for _, said in question.more}
            for _, said in question.more:
                kinds[said in drawing.COLOURS].add(said)
            changes = {"colour": (2, 1), "shape": (1, 2), "place": (1, 1)}
            assert (len(kinds[True]), len(kinds[False])) == changes[question.answer]
        if question.group == "same":
            assert (each["first"] == each["second"]) == (question.answer == "yes")
        if question.group == "more":
            assert max(each, key=each.__getitem__) == question.answer


def test_the_digits_of_evaluation_are_held_out(monkeypatch):
    drawn = []
    draw = digits.draw
    monkeypatch.setattr(
        digits, "draw", lambda index, *how, **kw: drawn.append(index) or draw(index, *how, **kw)
    )
    for seed in range(40):
        compare.ask(random.Random(seed), True)
    assert drawn
    assert set(drawn) <= set(digits.indices(True))


@pytest.mark.parametrize("what", ["colour", "shape", "place"])
def test_one_thing_changes_and_nothing_else(what):
    for seed in range(30):
        before, after = compare._one_changed(random.Random(seed), what)
        changed = {
            "colour": before.colour != after.colour,
            "shape": before.shape != after.shape,
            "place": (before.x, before.y) != (after.x, after.y),
        }
        assert [name for name, is_so in changed.items() if is_so] == [what]


@pytest.mark.parametrize("held", [False, True])
def test_held_out_combinations_are_only_in_evaluation(held, monkeypatch):
    drawn = []
    draw = drawing.draw
    monkeypatch.setattr(compare, "draw", lambda things, **how: drawn.append(things) or draw(things, **how))
    for seed in range(60):
        drawn.clear()
        question = compare.ask(random.Random(seed), held)
        names = {one.name for things in drawn for one in things}
        assert bool(names & drawing.HELD_OUT) == (held and question.group != "same")


def test_guessing_gets_no_more_than_chance():
    asked = [compare.ask(random.Random(seed), True) for seed in range(900)]
    for kind, chance in compare.CHANCE.items():
        answers = [q.answer for q in asked if q.group == kind]
        assert abs(max(map(answers.count, set(answers))) / len(answers) - chance) < 0.08


def test_pictures_are_rgb():
    assert np.asarray(compare.ask(random.Random(0), True).images[0]).shape[-1] == 3

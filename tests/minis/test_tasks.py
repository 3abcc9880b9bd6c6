"""Each task's held-out part is one that training cannot draw."""

from __future__ import annotations

import random

import pytest

from gemma_lab.evals.questions import Question as Asked
from gemma_lab.minis.tasks import SKILLS, digits, held_out, names, numbers
from gemma_lab.models.chat.tools import Call


@pytest.mark.parametrize("skill", SKILLS)
def test_a_seed_repeats_the_questions_and_they_grade_their_own_answer(skill):
    for held in (False, True):
        one, two = (SKILLS[skill](random.Random(5), held) for _ in range(2))
        assert (one.prompt, one.answer, one.group) == (two.prompt, two.answer, two.group)
        assert one.skill == skill
        assert (one.call, one.thought, one.history) == (two.call, two.thought, two.history)
        asked = Asked.from_task(one)
        calls = () if one.call is None else (Call(**one.call),)
        assert asked.is_correct(one.answer, calls)
        assert not asked.is_correct("nothing at all")


def test_training_never_says_a_held_out_number():
    rng = random.Random(0)
    held = {numbers.words(n, "en") for n in range(1000) if numbers.is_held_out(n)}
    assert 140 < len(held) < 220
    drawn = [numbers.ask(rng, False) for _ in range(1500)]
    assert not held & {question.answer for question in drawn}
    english = [
        question for question in (numbers.ask(rng, True) for _ in range(300)) if question.group == "en"
    ]
    assert english
    assert all(question.answer in held or question.answer.isdigit() for question in english)


def test_held_out_pairings_of_names_are_never_drawn_in_training():
    rng = random.Random(0)
    held = {(q.prompt, q.answer) for q in (names.ask(rng, True) for _ in range(800))}
    assert not held & {(q.prompt, q.answer) for q in (names.ask(rng, False) for _ in range(3000))}


def test_names_are_cldrs():
    assert names.things()["country DE"]["fr"] == "Allemagne"
    assert names.things()["month 1"]["de"] == "Januar"


def test_the_digits_are_split_in_two_and_drawn_in_colour():
    assert not set(digits.indices(True)) & set(digits.indices(False))
    assert len(digits.indices(True)) + len(digits.indices(False)) == 1797
    picture = digits.draw(digits.indices(True)[0], random.Random(1))
    assert picture.mode == "RGB"
    assert len(picture.getcolors(1 << 16)) > 20


def test_the_sample_pictures_are_held_out_and_repeatable():
    once, again = digits.samples(), digits.samples()
    assert list(once) == list(range(10))
    assert all(once[digit].tobytes() == again[digit].tobytes() for digit in once)


def test_the_split_is_stable():
    assert [held_out(f"number {n}", share=0.2) for n in (100, 101, 102)] == [
        held_out(f"number {n}", share=0.2) for n in (100, 101, 102)
    ]
    share = sum(held_out(str(n), share=0.3) for n in range(4000)) / 4000
    assert abs(share - 0.3) < 0.03

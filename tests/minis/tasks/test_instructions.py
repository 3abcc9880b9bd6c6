"""System prompts that set the form of an answer."""

from __future__ import annotations

import random
import re
from collections import Counter

import pytest

from gemma_lab.evals.grading import is_correct
from gemma_lab.evals.words import PEOPLE
from gemma_lab.minis.tasks import instructions, numbers, recall


def _drawn(held, count=1200):
    rng = random.Random(3)
    return [instructions.ask(rng, held) for _ in range(count)]


def test_every_question_has_a_system_prompt_and_an_answer_in_its_form():
    for question in _drawn(True):
        assert question.system
        if question.group == "language":
            language = next(c for c, name in numbers.LANGUAGES.items() if name in question.system)
            number = int("".join(filter(str.isdecimal, question.prompt)))
            assert question.answer == numbers.words(number, language)
        elif question.group == "length":
            assert (" " in question.answer) == ("sentence" in question.system)
        else:
            assert question.answer.isdecimal() == ("digits" in question.system)


def test_the_same_question_is_asked_in_every_form_and_only_the_system_prompt_tells_which():
    """The chance of a form that is always the same: the share of the commonest system prompts' form."""
    for group, chance in instructions.CHANCE.items():
        asked = [question for question in _drawn(True, 4000) if question.group == group]
        forms = Counter(
            next(name for name in numbers.LANGUAGES.values() if name in question.system)
            if group == "language"
            else question.answer.isdecimal()
            if group == "numbers"
            else " " in question.answer
            for question in asked
        )
        assert max(forms.values()) / len(asked) == pytest.approx(chance, abs=0.04)


def test_an_answer_in_another_form_is_graded_as_wrong():
    for question in _drawn(True, 300):
        assert is_correct(question.answer, question.answer, within=False)
    assert not is_correct("Mia has the lemon.", "lemon", within=False)
    assert not is_correct("47", "forty-seven", within=False)


def test_what_is_held_out_is_never_trained_on():
    def pairs(questions):
        found = set()
        for question in questions:
            if question.group == "language":
                language = next(c for c, name in numbers.LANGUAGES.items() if name in question.system)
                found.add((int("".join(filter(str.isdecimal, question.prompt))), language))
            else:
                known = rf"\b({'|'.join(PEOPLE)})\b"
                for sentence in question.prompt.split(". ")[:-1]:
                    what = sentence.removesuffix(" years old").split()[-1]
                    found.add((re.search(known, sentence)[1], what))
        return found

    asked, trained = pairs(_drawn(True)), pairs(_drawn(False))
    assert len(asked) > 300
    assert not asked & trained
    for held, pairs_said in ((True, asked), (False, trained)):
        people = [(who, what) for who, what in pairs_said if isinstance(who, str)]
        assert len(people) > 100
        assert all(recall.is_held_out(who, what) == held for who, what in people)


def test_training_has_further_facts_and_system_prompts_and_the_check_up_neither():
    drawn = {held: _drawn(held, 3000) for held in (False, True)}
    systems = {held: " | ".join({q.system for q in drawn[held]}) for held in drawn}
    prompts = {held: " | ".join({q.prompt for q in drawn[held]}) for held in drawn}
    for part in ("Reply in ", "Respond only in ", "You are a helpful assistant", "Reply with a single word."):
        assert part in systems[False]
        assert part not in systems[True]
    for part in (" lives in ", " is a ", " is free on ", " bought the ", " years old", " has the number "):
        assert part in prompts[False]
        assert part not in prompts[True]
    new = [q for q in drawn[False] if q.system.startswith(("Re", "You are"))]
    assert 0.25 < len(new) / 3000 < 0.42


def test_the_further_answers_are_said_by_the_text_in_the_form_asked_for():
    for question in _drawn(False, 3000):
        if question.group == "language":
            continue
        *facts, asked = question.prompt.split(". ")
        (who,) = (name for name in PEOPLE if re.search(rf"\b{name}\b", asked))
        (said,) = (fact for fact in facts if re.search(rf"\b{who}\b", fact))
        value = said.removesuffix(" years old").split()[-1]
        if question.group == "length":
            assert question.answer == (f"{said}." if "sentence" in question.system else value)
        else:
            digits = "in digits" in question.system
            assert question.answer == (value if digits else numbers.words(int(value), "en"))

"""System prompts that set the form of an answer."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from gemma_lab.evals.grading import is_correct
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
                for sentence in question.prompt.split("."):
                    words = sentence.split()
                    if "has the" in sentence:
                        found.add((words[0], words[-1]))
                    elif "code" in sentence and words[-1].isdecimal():
                        found.add((words[3], words[-1]))
        return found

    asked, trained = pairs(_drawn(True)), pairs(_drawn(False))
    assert len(asked) > 300
    assert not asked & trained
    people = [(who, what) for who, what in asked if isinstance(who, str)]
    assert all(recall.is_held_out(who, what) for who, what in people)

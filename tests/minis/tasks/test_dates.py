"""Dates are CLDR's, in twelve languages, and training never says a held-out day."""

from __future__ import annotations

import random
import re

import pytest

from gemma_lab.minis.tasks import dates


@pytest.mark.parametrize(
    ("language", "day", "whole"),
    [
        ("en", "March 14", "March 14, 2026"),
        ("de", "14. März", "14. März 2026"),
        ("ar", "14 مارس", "14 مارس 2026"),
        ("vi", "14 tháng 3", "14 tháng 3, 2026"),
        ("es", "14 de marzo", "14 de marzo de 2026"),
        ("ja", "3月14日", "2026年3月14日"),
        ("hi", "14 मार्च", "14 मार्च 2026"),
        ("ru", "14 марта", "14 марта 2026 г."),
    ],
)
def test_days_are_written_as_the_language_does(language, day, whole):
    assert dates.day(3, 14, language) == day
    assert dates.date(2026, 3, 14, language) == whole


def _days_said(rng, held, count):
    """Return the (prompt, answer) of questions, and the days that their answers in digits name."""
    drawn = [dates.ask(rng, held) for _ in range(count)]
    digits = [q.answer for q in drawn if re.fullmatch(r"\d{4}-\d\d-\d\d", q.answer)]
    return drawn, {tuple(int(part) for part in answer.split("-")[1:]) for answer in digits}


def test_training_never_says_a_held_out_day():
    rng = random.Random(0)
    held = {(m, d) for m in range(1, 13) for d in range(1, 32) if dates.is_held_out(m, d)}
    drawn, numbered = _days_said(rng, False, 2000)
    assert numbered
    assert not numbered & held
    german = {dates.day(m, d, "de") for m, d in held if d <= 28}
    said = {q.answer for q in drawn} | {part for q in drawn for part in re.findall("“(.*?)”", q.prompt)}
    assert not said & german
    _, asked = _days_said(rng, True, 500)
    assert asked <= held


def test_every_language_is_asked_and_no_question_holds_its_answer():
    rng = random.Random(1)
    drawn = [dates.ask(rng, True) for _ in range(600)]
    assert {question.group for question in drawn} == set(dates.LANGUAGES)
    assert len(dates.LANGUAGES) >= 12
    assert not any(f"“{question.answer}”" in question.prompt for question in drawn)

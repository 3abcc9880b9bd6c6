"""Number words of twelve languages, each in its own script."""

from __future__ import annotations

import random

import pytest
import regex

from gemma_lab.minis.tasks import numbers

_SCRIPTS = {"ar": "Arabic", "ja": "Han", "ko": "Hangul", "ru": "Cyrillic", "th": "Thai"}


@pytest.mark.parametrize("language", numbers.LANGUAGES)
def test_every_number_has_words_of_its_own_in_the_languages_script(language):
    said = {numbers.words(number, language) for number in range(1000)}
    script = _SCRIPTS.get(language, "Latin")
    assert len(said) >= 999  # Arabic says 2 and 200 …
    assert all(regex.fullmatch(rf"[\p{{{script}}}\p{{M}} -]+", words) for words in said)


def test_numbers_are_asked_in_twelve_languages_both_ways():
    rng = random.Random(0)
    drawn = [numbers.ask(rng, True) for _ in range(800)]
    assert {q.group for q in drawn} == set(numbers.LANGUAGES)
    assert len(numbers.LANGUAGES) == 12
    into_digits = {q.group for q in drawn if q.answer.isdecimal() and q.answer.isascii()}
    assert into_digits == set(numbers.LANGUAGES)


def test_the_corpus_says_no_whole_held_out_number():
    texts = {text.strip() for text in numbers.corpus()}
    said = [n for n in range(1000) if numbers.is_held_out(n) and n % 100 and n not in (101, 201)]
    assert not texts & {numbers.words(n, language) for n in said for language in numbers.LANGUAGES}

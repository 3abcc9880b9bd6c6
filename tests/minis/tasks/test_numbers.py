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


def _number(question):
    """Return the number of a question from its prompt alone, if it is asked for in digits."""
    return next(iter(regex.findall(r"\d+", question.prompt)), None)


def test_a_third_of_training_is_asked_in_other_words_and_the_check_up_never_is():
    rng = random.Random(1)
    drawn = {held: [numbers.ask(rng, held) for _ in range(1500)] for held in (False, True)}
    others = [r"Write \d+ in \w+\.", r"What is \d+ in \w+\?", r"Write the number \d+ in \w+ words\.",
              r"Write [^“]+ in digits\.", r"Which number is [^“]+\?"]  # fmt: skip
    shares = {
        held: [sum(bool(regex.fullmatch(one, q.prompt)) for q in drawn[held]) / 1500 for one in others]
        for held in drawn
    }
    assert not any(shares[True])
    assert all(share > 0.02 for share in shares[False])
    assert 0.25 < sum(shares[False]) < 0.4
    for question in drawn[False]:
        if number := _number(question):
            assert question.answer == numbers.words(int(number), question.group)
        else:
            assert numbers.words(int(question.answer), question.group) in question.prompt

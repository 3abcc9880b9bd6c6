"""Words that no list has, written as a name or as a thing."""

from __future__ import annotations

import random

from gemma_lab.minis.tasks.functions import FURTHER_WORDS
from gemma_lab.minis.tasks.invented_words import invented, strange
from gemma_lab.minis.tasks.sentences import sentence


def test_invented_words_can_be_said_and_are_many():
    words = {invented(random.Random(seed)) for seed in range(500)}
    assert len(words) > 450
    assert all(word.isalpha() and word.islower() and 4 <= len(word) <= 7 for word in words)
    assert all(sum(letter in "aeiou" for letter in word) in (2, 3) for word in words)


def test_names_have_a_capital_letter_and_half_of_the_words_do_not_exist():
    for name in (False, True):
        rng = random.Random(0)
        words = [strange(rng, name=name) for _ in range(600)]
        assert all(word[0].isupper() == name for word in words)
        assert 0.4 < sum(word not in FURTHER_WORDS for word in words) / 600 < 0.6


def test_an_article_suits_its_word():
    assert sentence("{who} has a {what}.", who="Ada", what="onion") == "Ada has an onion."
    assert sentence("{who} has a {what}.", who="Ada", what="lemon") == "Ada has a lemon."
    assert sentence("{who} is {what} years old.", who="Ada", what=34) == "Ada is 34 years old."

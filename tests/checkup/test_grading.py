"""What counts as the answer, and what only looks like it."""

from __future__ import annotations

import pytest

from gemma_lab.checkup.grading import is_right, plain


@pytest.mark.parametrize(
    ("said", "answer"),
    [
        ("7", "7"),
        ("The digit is **7**.", "7"),
        ("Ben has the drum.", "drum"),
        ("  VIỆT  NAM. ", "Việt Nam"),
        ("In French, Germany is “Allemagne”.", "Allemagne"),
        ("ドイツです", "ドイツです"),
        ("It is सितंबर.", "सितंबर"),
    ],
)
def test_the_answer_alone_or_in_a_sentence_is_right(said, answer):
    assert is_right(said, answer)


@pytest.mark.parametrize(
    ("said", "answer"),
    [
        ("", "7"),
        ("7 or 1", "7"),
        ("17", "7"),
        ("drumstick", "drum"),
        ("Viet Nam", "Việt Nam"),
        ("सितंबरी", "सितंबर"),
        ("lemon " * 40, "lemon"),
    ],
)
def test_near_misses_are_wrong(said, answer):
    assert not is_right(said, answer)


def test_a_number_word_within_a_longer_one_is_wrong_unless_it_is_set_off():
    assert is_right("Two hundred.", "two hundred", within=False)
    assert not is_right("two hundred and five", "two hundred", within=False)
    assert is_right("In words: **two hundred**", "two hundred", within=False)
    assert not is_right("**one** and **two hundred and five**", "two hundred", within=False)


def test_what_is_compared_is_plain():
    assert plain(" *Ａ*  b。") == "ａ b"

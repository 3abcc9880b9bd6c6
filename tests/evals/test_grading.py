"""What counts as the answer, and what only looks like it."""

from __future__ import annotations

import pytest

from gemma_lab.evals.grading import equal_json, is_correct, is_correct_call, normalize
from gemma_lab.models.chat.tools import Call


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
    assert is_correct(said, answer)


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
    assert not is_correct(said, answer)


def test_a_number_word_within_a_longer_one_is_wrong_unless_it_is_set_off():
    assert is_correct("Two hundred.", "two hundred", within=False)
    assert not is_correct("two hundred and five", "two hundred", within=False)
    assert is_correct("In words: **two hundred**", "two hundred", within=False)
    assert not is_correct("**one** and **two hundred and five**", "two hundred", within=False)


def test_what_is_compared_is_plain():
    assert normalize(" *Ａ*  b。") == "ａ b"


@pytest.mark.parametrize(
    ("said", "right"),
    [
        ('{"name": "Ada", "age": 34}', True),
        ('{"age":34,\n "name":"Ada"}', True),
        ('```json\n{"name": "Ada", "age": 34}\n```', True),
        ('{"name": "ada", "age": 34}', False),
        ('{"name": "Ada", "age": 34.0}', False),
        ('{"name": "Ada", "age": "34"}', False),
        ('{"name": "Ada"}', False),
        ('{"name": "Ada", "age": 34, "city": "Rome"}', False),
        ('Here: {"name": "Ada", "age": 34}', False),
        ('{"name": "Ada", "age": 34', False),
        ("[" * 100_000, False),
        ("", False),
    ],
)
def test_json_is_compared_as_a_value(said, right):
    assert equal_json(said, '{"name": "Ada", "age": 34}') is right


@pytest.mark.parametrize(
    ("calls", "right"),
    [
        ((Call("set_timer", {"minutes": 5, "label": "tea"}),), True),
        ((Call("set_timer", {"label": "tea", "minutes": 5}),), True),
        ((), False),
        ((Call("timer", {"minutes": 5, "label": "tea"}),), False),
        ((Call("set_timer", {"minutes": 5}),), False),
        ((Call("set_timer", {"minutes": 5, "label": "tea", "loud": True}),), False),
        ((Call("set_timer", {"minutes": "5", "label": "tea"}),), False),
        ((Call("set_timer", {"minutes": 5, "label": "tea"}),) * 2, False),
        ((Call("set_timer", {"minutes": 5, "label": "tea"}, problem="it was cut off"),), False),
    ],
)
def test_one_call_with_these_arguments_and_no_others(calls, right):
    wanted = {"name": "set_timer", "arguments": {"minutes": 5, "label": "tea"}}
    assert is_correct_call(calls, wanted) is right

"""Sums: the answers are right, the steps lead there, and training never sees a held-out one."""

from __future__ import annotations

import random
import re

import pytest

from gemma_lab.minis.tasks import arithmetic

_WORDS = {"plus": "+", "minus": "-", "times": "×", "*": "×", "x": "×"}


def _said(question):
    """Return the sum of a question with the spaces and signs of the check-up."""
    prompt = question.prompt
    for word, sign in _WORDS.items():
        prompt = re.sub(rf"(?<=\d) ?{re.escape(word)} ?(?=\d)", sign, prompt)
    said = re.search(r"\d+ ?[-+×] ?\d+( ?[-+×] ?\d+)?", prompt).group()
    return " ".join(re.findall(r"\d+|[-+×]", said))


def _worth(said):
    return eval(said.replace("×", "*"), {"__builtins__": {}})  # digits and signs, as matched above


@pytest.mark.parametrize("held", [False, True])
def test_the_answer_is_what_the_sum_is_worth(held):
    rng = random.Random(1)
    for _ in range(500):
        for question in (arithmetic.ask(rng, held), arithmetic.think(rng, held)):
            assert question.answer == str(_worth(_said(question)))
            assert arithmetic.is_held_out(_said(question)) == held
            assert int(question.answer) >= 0


def test_every_step_of_a_thought_is_true_and_the_last_is_the_answer():
    rng = random.Random(2)
    for _ in range(500):
        question = arithmetic.think(rng, rng.random() < 0.5)
        assert question.thinking
        for line in question.thought.split("\n"):
            values = [_worth(part) for part in line.split("=")]
            assert len(set(values)) == 1
            assert 0 <= values[0] <= 297
        assert question.thought.rsplit("=", 1)[1] == question.answer
        assert len(question.thought) < 60


def test_a_direct_question_holds_no_steps():
    question = arithmetic.ask(random.Random(3), held=False)
    assert (question.skill, question.thinking, question.thought) == ("arithmetic", False, "")


@pytest.mark.parametrize(
    ("a", "sign", "b", "written"),
    [
        (47, "+", 38, "47+38=77+8=85"),
        (85, "-", 16, "85-16=75-6=69"),
        (85, "+", 30, "85+30=115"),
        (85, "-", 6, "85-6=79"),
        (5, "+", 40, "5+40=45"),
    ],
)
def test_a_step_takes_tens_then_ones(a, sign, b, written):
    assert arithmetic.step(a, sign, b) == written


def test_the_table_of_products_is_never_held_out():
    assert not any(arithmetic.is_held_out(f"{a} × {b}") for a in range(10) for b in range(10))
    groups = [arithmetic.ask(random.Random(n), held=True).group for n in range(100)]
    assert set(groups) == {"2 terms", "3 terms"}


def test_a_third_of_training_is_written_otherwise_and_the_check_up_never_is():
    taught = re.compile(r"(What is|Calculate|How much is|Work out) \d+ [-+×] \d+( [-+×] \d+)?[.?]")
    for draw in (arithmetic.ask, arithmetic.think):
        rng = random.Random(4)
        asked = {held: [draw(rng, held).prompt for _ in range(1500)] for held in (False, True)}
        assert all(taught.fullmatch(prompt) for prompt in asked[True])
        others = [prompt for prompt in asked[False] if not taught.fullmatch(prompt)]
        assert 0.2 < len(others) / 1500 < 0.4
        for form in ("plus", "minus", "times", "*", "x", "Compute", "= ?", "=?"):
            assert any(form in prompt for prompt in others)
        assert any(re.fullmatch(r"\d+[-+]\d+", prompt) for prompt in others)  # a bare sum


def test_the_tokenizers_corpus_is_written_as_it_was():
    assert not any("plus" in text or "*" in text or "Compute" in text for text in arithmetic.corpus())

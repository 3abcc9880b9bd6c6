"""Requests without functions: no call is right, and what is held out stays out of training."""

from __future__ import annotations

import random

import pytest

from gemma_lab.evals.words import PEOPLE, THINGS
from gemma_lab.minis.tasks import abstention
from gemma_lab.minis.tasks.functions import FUNCTIONS, MORE_REQUESTS

GROUPS = {"greeting", "open", "no tools", "small talk", "text", "not in the text"}


def _drawn(held, count=1000):
    rng = random.Random(5)
    return [abstention.ask(rng, held) for _ in range(count)]


def _served(prompt):
    """Return the functions that a request may be for: those with a way to ask that has its words."""
    found = []
    for function in FUNCTIONS:
        for asked in (*function.asked, *MORE_REQUESTS[function.names[0]]):
            parts = [part.split("}")[-1] for part in asked.split("{")]
            place = 0
            for part in parts:
                place = prompt.find(part, place) + len(part) if prompt.find(part, place) >= 0 else -1
                if place < 0:
                    break
            if place >= 0:
                found.append(function)
    return found


@pytest.mark.parametrize("held", [False, True])
def test_nothing_is_declared_and_no_call_is_right(held):
    drawn = _drawn(held)
    assert {question.group for question in drawn} == GROUPS
    for question in drawn:
        assert question.answer
        assert question.call is None
        assert not question.history
        assert not question.tools
        if question.group == "no tools":
            assert _served(question.prompt)
            assert question.answer == abstention.UNKNOWN


def test_a_greeting_is_returned_with_the_name_that_it_has():
    for question in _drawn(True):
        if question.group == "greeting":
            named = [who for who in PEOPLE if who in question.prompt]
            assert question.answer == (f"Hello, {named[0]}!" if named else "Hello!")


def test_what_is_held_out_is_never_trained_on():
    def open_requests(held):
        texts = [question.prompt for question in _drawn(held, 3000) if question.group == "open"]
        for thing in sorted(THINGS, key=len, reverse=True):
            texts = [text.replace(f" {thing}", " {}") for text in texts]
        return set(texts)

    def people(held):
        return {q.answer for q in _drawn(held, 3000) if q.group == "greeting"} - {"Hello!"}

    assert not open_requests(True) & open_requests(False)
    assert not people(True) & people(False)
    assert len(open_requests(True)) >= 10
    assert len(people(True)) >= 5


def test_small_talk_is_that_of_the_tool_task_without_its_functions():
    for question in _drawn(False):
        if question.group == "small talk":
            assert question.answer != abstention.UNKNOWN
            assert question.answer in question.prompt or "opposite" in question.prompt


def test_a_question_about_a_text_is_answered_if_the_text_says_it():
    for question in _drawn(True):
        if question.group in ("text", "not in the text"):
            *facts, asked = question.prompt.split(". ")
            who = asked.removeprefix("What does ").removesuffix(" have?")
            said = [fact.split(" the ")[1] for fact in facts if fact.startswith(f"{who} has")]
            assert question.answer == (said[0] if said else abstention.UNKNOWN)
            assert bool(said) == (question.group == "text")

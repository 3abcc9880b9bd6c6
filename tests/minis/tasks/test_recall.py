"""Recall: what is asked stands in the text once, at any depth, and held-out pairs are never trained."""

from __future__ import annotations

import random
import re

import pytest

from gemma_lab.minis.tasks import recall


def _statements():
    """Return an expression for each sentence that may say a fact, each with the groups who and what."""
    wordings = [
        each for kind in recall._WORDINGS for each in (*recall._WORDINGS[kind], *recall._MORE_WORDINGS[kind])
    ]
    said = {re.escape(each.fact).replace(r"\ a\ ", r"\ an?\ ") for each in wordings}
    return [one.replace(r"\{who\}", r"(\w+)").replace(r"\{what\}", r"(\w+)") for one in said]


def _pairs(text):
    """Return (who, what) of every fact in a text, without its other sentences."""
    sentences = re.split(r"(?<=[.?]) ", text)
    found = [(re.fullmatch(one, each)) for each in sentences for one in _statements()]
    return [match.groups() for match in found if match]


@pytest.mark.parametrize("held", [False, True])
def test_every_answer_is_in_the_text(held):
    rng = random.Random(1)
    for _ in range(300):
        question = recall.ask(rng, held, longest=300)
        facts = dict(_pairs(question.prompt))
        assert 2 <= len(facts) <= recall.MAX_FACTS
        (first,) = (each for each in re.split(r"(?<=[.?]) ", question.prompt)
                    if each.endswith("?") or each.startswith("Tell me"))  # fmt: skip
        for prompt, answer in ((first, question.answer), *question.more):
            people = [word for word in re.findall(r"\w+", prompt) if word in facts]
            assert [facts[who] for who in people] == re.findall(r"[^\W_]+", answer.replace(" and ", " "))
        assert (question.group == "several") == (" and " in question.answer)


def test_training_never_brings_a_held_out_pair_together():
    rng = random.Random(2)
    trained = [recall.ask(rng, False, longest=0).prompt for _ in range(600)]
    trained += [draw(rng)[0] for draw in (recall.retold, recall.asked) for _ in range(200)]
    assert all(not recall.is_held_out(*pair) for text in trained for pair in _pairs(text))
    asked = [recall.ask(rng, True, longest=0).prompt for _ in range(100)]
    assert all(recall.is_held_out(*pair) for text in asked for pair in _pairs(text))
    assert all(len(_pairs(text)) == 10 for text in asked)


def test_the_text_is_as_long_as_its_group_says_and_the_fact_anywhere():
    rng = random.Random(3)
    for group, tokens in recall.LENGTHS.items():
        question = recall.long(rng, True, group=group)
        assert (question.skill, question.group) == ("long recall", group)
        assert tokens <= recall.tokens_of(question.prompt) < tokens + 40
        assert question.answer in [what for _, what in _pairs(question.prompt)]
    drawn = [recall.long(rng, True, group="1k") for _ in range(200)]
    depths = [q.prompt.index(f" {q.answer}.") / len(q.prompt) for q in drawn]
    assert min(depths) < 0.1
    assert max(depths) > 0.9
    assert abs(sum(depths) / len(depths) - 0.5) < 0.08


def test_training_is_at_most_as_long_as_it_says():
    rng = random.Random(4)
    lengths = [recall.tokens_of(recall.ask(rng, False).prompt) for _ in range(300)]
    assert max(lengths) < recall.LONGEST + 60
    assert max(lengths) > 0.9 * recall.LONGEST
    assert sorted(lengths)[150] < 0.3 * recall.LONGEST
    short = [recall.ask(rng, False, most=3, longest=0) for _ in range(50)]
    assert all(len(_pairs(question.prompt)) <= 3 for question in short)


def test_a_text_told_again_has_the_same_facts():
    text, parts = recall.retold(random.Random(5))
    assert sorted(f"{before}{value}." for before, value in parts) == sorted(
        re.findall(r"[^.]+\.", text.replace(". ", "."))
    )


def test_facts_alone_are_ten_sentences_with_held_out_pairs():
    for seed in range(20):
        question = recall.facts(random.Random(seed), True)
        sentences = question.prompt.split(". ")
        assert len(sentences) == recall.MAX_FACTS + 1
        assert question.answer.split(" and ")[0].split(",")[0] in question.prompt


def test_a_third_of_the_texts_of_training_vary_and_the_check_up_never_does():
    rng = random.Random(6)
    known = {*recall.NAMES, *recall.THINGS, *recall.CITIES} | {str(code) for code in range(10, 100)}
    drawn = {held: [recall.ask(rng, held, longest=0) for _ in range(900)] for held in (False, True)}
    words, varied = set(), 0
    for held, questions in drawn.items():
        for question in questions:
            strange = {word for pair in _pairs(question.prompt) for word in pair} - known
            assert not (held and strange)
            if not held:
                words |= strange
                varied += bool(strange)
    assert 0.2 < varied / 900 < 0.4
    assert len(words) > 500
    assert {len(word) for word in words if word.isdecimal()} == {3, 4}
    prompts = {held: " | ".join(q.prompt for q in questions) for held, questions in drawn.items()}
    for form in (" has a ", " bought a", " owns the ", " carries a", "'s code is "):
        assert form in prompts[False]
        assert form not in prompts[True]
    assert " a apple" not in prompts[False]
    first = [q.prompt.endswith("?") or "Tell me" in q.prompt[-40:] for q in drawn[False]]
    assert 0.05 < first.count(False) / 900 < 0.15
    assert all(q.prompt[-1] == "?" or "Tell me" in q.prompt[-40:] for q in drawn[True])

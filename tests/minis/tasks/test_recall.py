"""Recall: what is asked stands in the text once, at any depth, and held-out pairs are never trained."""

from __future__ import annotations

import random
import re

import pytest

from gemma_lab.minis.tasks import recall


def _pairs(text):
    """Return (who, what) of every fact in a text."""
    names = "|".join(recall.NAMES)
    middle = r"(?: chose is | is | has the | found the | lives in | moved to )"
    return re.findall(rf"\b({names}){middle}(\w+)\.", text)


@pytest.mark.parametrize("held", [False, True])
def test_every_answer_is_in_the_text(held):
    rng = random.Random(1)
    for _ in range(300):
        question = recall.ask(rng, held, longest=300)
        facts = dict(_pairs(question.prompt))
        assert 2 <= len(facts) <= recall.MAX_FACTS
        for prompt, answer in ((question.prompt.rsplit(". ", 1)[1], question.answer), *question.more):
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

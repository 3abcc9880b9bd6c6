"""Records: the answer is valid under the schema and stands in the text; training says no held-out pair."""

from __future__ import annotations

import json
import random

import jsonschema
import pytest

from gemma_lab.evals.words import PEOPLE
from gemma_lab.minis.tasks import records


@pytest.mark.parametrize("held", [False, True])
def test_the_answer_follows_the_schema_and_the_text(held):
    rng = random.Random(1)
    groups = set()
    for _ in range(80):
        question = records.ask(rng, held)
        record = json.loads(question.answer)
        jsonschema.validate(record, question.schema)
        assert list(record) == list(question.schema["properties"]) == question.schema["required"]
        text, asked = question.prompt.rsplit(". ", 1)
        assert all(str(value) in question.prompt for value in record.values())
        assert all(f"{key} ({kind['type']})" in asked for key, kind in question.schema["properties"].items())
        who = record.get("name") or record["person"]
        assert who in text
        assert who in PEOPLE or not held
        groups.add(question.group)
    assert groups == {"3 fields", "4 fields"}


def test_training_never_says_a_held_out_fact():
    rng = random.Random(2)
    keys = {key: fact for fact, (names, *_) in records._FIELDS.items() for key in names}
    for held in (False, True):
        for _ in range(800):
            record = json.loads(records.ask(rng, held).answer)
            who = record.get("name") or record["person"]
            facts = {keys[key]: value for key, value in record.items() if key in keys}
            assert all(records.is_held_out(who, fact, value) == held for fact, value in facts.items())


def test_every_person_and_fact_has_both_parts():
    for fact in records._FIELDS:
        for who in PEOPLE:
            assert records._VALUES[True][fact][who]
            assert records._VALUES[False][fact][who]


def test_some_texts_of_training_have_people_and_things_that_no_list_has_and_other_sentences():
    rng = random.Random(3)
    drawn = {held: [records.ask(rng, held) for _ in range(1500)] for held in (False, True)}
    known = {*PEOPLE} | {str(value) for values in records._EVERY.values() for value in values}

    def strange(question):
        return {str(value) for value in json.loads(question.answer).values()} - known

    assert not any(strange(question) for question in drawn[True])
    some = [strange(question) for question in drawn[False]]
    assert 0.15 < sum(map(bool, some)) / 1500 < 0.4
    assert len(set().union(*some)) > 300
    assert all(" moved to " not in question.prompt for question in drawn[True])
    assert any(" moved to " in question.prompt for question in drawn[False])

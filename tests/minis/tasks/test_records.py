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
        assert any(who in text for who in PEOPLE)
        groups.add(question.group)
    assert groups == {"3 fields", "4 fields"}


def test_training_never_says_a_held_out_fact():
    rng = random.Random(2)
    keys = {key: fact for fact, (names, *_) in records._FIELDS.items() for key in names}
    for held in (False, True):
        for _ in range(400):
            record = json.loads(records.ask(rng, held).answer)
            who = record.get("name") or record["person"]
            facts = {keys[key]: value for key, value in record.items() if key in keys}
            assert all(records.is_held_out(who, fact, value) == held for fact, value in facts.items())


def test_every_person_and_fact_has_both_parts():
    for fact in records._FIELDS:
        for who in PEOPLE:
            assert records._VALUES[True][fact][who]
            assert records._VALUES[False][fact][who]

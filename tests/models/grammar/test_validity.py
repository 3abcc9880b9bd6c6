"""Answers of random weights at a high temperature are valid by construction, in every shape of the family."""

from __future__ import annotations

import json

import pytest
from support.sampled_answers import SCHEMAS, sampled_answers
from support.shapes import SIZES

from gemma_lab.models.grammar.partial import partial_value
from gemma_lab.models.grammar.schema import first_fault


@pytest.mark.parametrize("size", SIZES)
def test_sampled_answers_are_valid(size, tiny_lab):
    lab, complete = tiny_lab(size), 0
    for number, schema in enumerate(SCHEMAS):
        for text, ended in sampled_answers(lab, schema, 12, temperature=1.5, seed=number):
            if ended:
                assert first_fault(json.loads(text), schema) is None, text
                complete += 1
            else:
                assert partial_value(text) is not None, text
    assert complete > 40

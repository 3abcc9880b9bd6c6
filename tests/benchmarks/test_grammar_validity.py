"""10,000 answers at temperature 1.5 of random weights in all five shapes: how many are not valid."""

from __future__ import annotations

import json

from support.sampled_answers import SCHEMAS, sampled_answers
from support.shapes import SIZES

from gemma_lab.models.grammar.schema import first_fault

ANSWERS, BATCH = 10_000, 100


def test_sampled_answers_are_valid(tiny_lab, record):
    drawn = ended = invalid = 0
    for size in SIZES:
        lab = tiny_lab(size)
        for batch in range(ANSWERS // len(SIZES) // BATCH):
            schema = SCHEMAS[batch % len(SCHEMAS)]
            for text, complete in sampled_answers(lab, schema, BATCH, temperature=1.5, seed=batch):
                drawn, ended = drawn + 1, ended + complete
                if complete:
                    invalid += not _valid(text, schema)
    note = f"of {drawn:,}, temperature 1.5, {len(SIZES)} shapes; {drawn - ended:,} were cut at 96 tokens"
    record("grammar-valid", invalid, "= 0", "invalid", note)
    assert drawn == ANSWERS
    assert invalid == 0


def _valid(text: str, schema: dict) -> bool:
    try:
        return first_fault(json.loads(text), schema) is None
    except ValueError:
        return False

"""The engine enforces all of a schema: what it would read otherwise is narrowed or refused."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.grammars import END
from transformers import AutoTokenizer

from gemma_lab.assets import data_path
from gemma_lab.errors import BadSchema, LabError
from gemma_lab.models.grammar.engine import grammar
from gemma_lab.models.grammar.schema import answer_schema, first_fault

TOKENIZER = AutoTokenizer.from_pretrained(data_path("minis/mini-moe"))


def accepts(schema, *texts):
    """Whether each text is an answer that the grammar of a schema allows."""
    made = grammar(TOKENIZER, size=len(TOKENIZER), ends=[END, 1], schema=answer_schema(schema))
    found = []
    for text in texts:
        matcher, ids = made.matcher(), TOKENIZER.encode(text, add_special_tokens=False)
        whole = matcher.validate_tokens(ids) == len(ids)
        if whole:
            matcher.consume_tokens(ids)
        found.append(whole and matcher.is_accepting())
    return found


INTEGER = {"type": "integer"}


@pytest.mark.parametrize(
    ("schema", "right", "wrong"),
    [
        ({"type": "object", "properties": {"a": INTEGER}}, '{"a":1}', '{"\\u0061":"x"}'),
        ({"type": "object", "patternProperties": {"^a": INTEGER}}, '{"a":1}', '{"\\u0061":"x"}'),
        (INTEGER | {"minimum": 2**53 + 1}, str(2**53 + 3), str(2**53)),
        (INTEGER | {"minimum": -(2**63), "maximum": 2**63 - 1}, "5", str(2**63)),
        ({"type": "number", "exclusiveMinimum": 0, "maximum": 0.5}, "0.2", "0"),
        ({"type": "number", "exclusiveMinimum": 1, "exclusiveMaximum": 1.5}, "1.2", "1"),
        ({"type": "number", "minimum": -0.5, "exclusiveMaximum": 0}, "-0.2", "-0"),
        ({"type": "string", "format": "date"}, '"2024-02-29"', '"2023-02-29"'),
        ({"type": "string", "format": "date"}, '"2000-02-29"', '"1900-02-29"'),
        ({"type": "string", "format": "date"}, '"0400-12-31"', '"0000-12-31"'),
        ({"type": "string", "format": "date-time"}, '"2026-01-02T03:04:05Z"', '"2026-01-02T03:04:60Z"'),
        ({"type": "string", "pattern": r"^\D$"}, '"x"', '"٣"'),
        ({"type": "string", "pattern": r"^[^\w]$"}, '"-"', '"é"'),
        ({"type": "string", "pattern": "^[[&]$"}, '"["', '"x"'),
        (
            {"oneOf": [{"$ref": "#/$defs/n"}, {"type": "null"}], "$defs": {"n": INTEGER}},
            "null",
            '"x"',
        ),
    ],
    ids=str,
)
def test_what_the_engine_reads_otherwise(schema, right, wrong):
    assert first_fault(json.loads(right), schema) is None
    assert accepts(schema, right, wrong) == [True, False]


@pytest.mark.parametrize(
    "schema",
    [
        {"const": 2**53 + 1},
        {"enum": ["a", [1e300]]},
        {"enum": ["\x01"]},
        {"type": "object", "minProperties": 2},
        {"type": "object", "minProperties": 3, "required": ["a"], "properties": {"a": INTEGER}},
        {"$ref": "#"},
        {"anyOf": [{"$ref": "#"}, {"type": "null"}]},
        {"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}},
        {"type": "object", "required": ["a"], "properties": {"a": {"$ref": "#"}}},
        {"type": "array", "minItems": 1, "items": {"$ref": "#"}},
        {"type": "integer", "minimum": 10**30},
        {"$schema": "http://json-schema.org/draft-03/schema#", "type": "integer", "divisibleBy": 2},
        {"type": "string", "pattern": "(" * 3000 + ")" * 3000},
        {"type": "string", "pattern": "a{99999999999999999999}"},
    ],
    ids=lambda schema: str(schema)[:60],
)
def test_what_cannot_be_narrowed_is_refused(schema):
    with pytest.raises(BadSchema):
        accepts(schema)


def test_a_refusal_names_the_keyword_and_no_grammar():
    with pytest.raises(BadSchema, match="uniqueItems") as caught:
        accepts({"type": "array", "uniqueItems": True})
    assert "%llguidance" not in str(caught.value)


def test_recursion_with_an_end_is_no_fault():
    node = {"type": "object", "required": ["next"], "additionalProperties": False}
    node["properties"] = {"next": {"anyOf": [{"$ref": "#/$defs/node"}, {"type": "null"}]}}
    assert accepts({"$ref": "#/$defs/node", "$defs": {"node": node}}, '{"next":{"next":null}}') == [True]


def test_braces_in_a_text_are_no_depth():
    assert accepts({"enum": ["{" * 100, "x"]}, '"x"') == [True]


KEYS = st.sampled_from(["a", "ab", "é", "x1", "$ref"])
VALUES = st.recursive(
    st.sampled_from([None, True, False, 0, 1, -3, 5, 1.5, 0.3, "", "a", "ab", "é", "A-", "٣", "2024-02-30"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=5,
)
LEAVES = st.sampled_from(
    [
        {}, {"type": "null"}, {"type": "boolean"}, {"type": "integer", "minimum": 1}, {"minimum": 2},
        {"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 0.7}, {"multipleOf": 0.1},
        {"type": "string", "maxLength": 2}, {"minLength": 2}, {"pattern": r"^\D"}, {"pattern": r"[^\w]$"},
        {"format": "date"}, {"const": 1}, {"enum": ["a", 1, None, [1]]}, {"type": ["string", "integer"]},
    ]
)  # fmt: skip


def _combined(inner):
    return st.one_of(
        st.builds(lambda parts: {"anyOf": parts}, st.lists(inner, min_size=1, max_size=3)),
        st.builds(lambda parts: {"oneOf": parts}, st.lists(inner, min_size=1, max_size=2)),
        st.builds(lambda parts: {"allOf": parts}, st.lists(inner, min_size=1, max_size=2)),
        st.builds(
            lambda items, least, first: {
                "type": "array", "items": items, "minItems": least, "prefixItems": [first],
            },
            inner, st.integers(0, 2), inner,
        ),
        st.builds(
            lambda named, more, names, least: {
                "type": "object", "properties": named, "additionalProperties": more, "required": names,
                "minProperties": least,
            },
            st.dictionaries(KEYS, inner, max_size=2), st.booleans() | inner, st.lists(KEYS, max_size=1),
            st.integers(0, 2),
        ),
    )  # fmt: skip


@settings(max_examples=60, deadline=None)
@given(st.recursive(LEAVES, _combined, max_leaves=6), st.lists(VALUES, min_size=1, max_size=12))
def test_whatever_a_grammar_accepts_satisfies_its_schema(schema, values):
    texts = [json.dumps(value, ensure_ascii=False, separators=(",", ":")) for value in values]
    try:
        accepted = accepts(schema, *texts)
    except LabError:
        return  # refused: nothing is enforced by half
    for value, text, allowed in zip(values, texts, accepted, strict=True):
        if allowed:
            assert first_fault(value, schema) is None, text

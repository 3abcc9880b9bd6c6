"""Whatever is sampled under a grammar satisfies it; what cannot be enforced is refused."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TypedDict

import numpy as np
import pytest
from pydantic import BaseModel, field_validator
from support.grammars import CONTROL, END, sample
from transformers import AutoTokenizer

from gemma_lab.assets import data_path
from gemma_lab.errors import BadAnswer, BadSchema
from gemma_lab.models.grammar.engine import grammar
from gemma_lab.models.grammar.schema import answer_schema, first_fault


@pytest.fixture(scope="module")
def tokenizer():
    return AutoTokenizer.from_pretrained(data_path("minis/mini-moe"))


class Person(BaseModel):
    name: str
    age: int


@dataclass
class Record:
    name: str
    tags: list[str]


class Point(TypedDict):
    x: int
    y: int


SCHEMAS = [
    {"type": "object", "properties": {"a": {"type": "integer"}}, "additionalProperties": False},
    {"type": "array", "items": {"enum": ["x", "y", 3, None]}, "minItems": 1, "maxItems": 3},
    {"type": "integer", "minimum": 3, "maximum": 40},
    {"type": "string", "format": "date"},
    {"type": "string", "pattern": "^[a-c]{2,5}$"},
    {"anyOf": [{"type": "null"}, {"type": "boolean"}, {"const": "yes"}]},
    {
        "$ref": "#/$defs/n",
        "$defs": {"n": {"type": "array", "items": {"anyOf": [{"$ref": "#/$defs/n"}, {"type": "null"}]}}},
    },
]  # fmt: skip


@pytest.mark.parametrize("schema", SCHEMAS, ids=str)
def test_whatever_is_sampled_is_valid_compact_json(schema, tokenizer):
    made = grammar(tokenizer, size=len(tokenizer), ends=[END, 1], schema=answer_schema(schema))
    rng = np.random.default_rng(0)
    answers = [text for _ in range(25) if (text := sample(made, tokenizer, rng)) is not None]
    assert len(answers) > 5
    for text in answers:
        value = json.loads(text)
        assert first_fault(value, schema) is None
        assert "  " not in text or '"' in text  # at most one blank, after a comma or a colon


@pytest.mark.parametrize(
    "schema",
    [
        {"not": {"type": "string"}},
        {"type": "array", "uniqueItems": True},
        {"type": "string", "format": "odd"},
        {"if": {"type": "string"}},
        {"contains": {}},
        {"dependentRequired": {"a": ["b"]}},
        {"$ref": "#/nowhere"},
        {"type": "integer", "minimum": 3, "maximum": 2},
        {"type": "string", "pattern": "^(?=a)b"},
        {"type": "object", "propertyNames": {"enum": ["x"]}},
        {"type": 5},
        {"enum": "x"},
        {"required": "a"},
    ],
    ids=str,
)
def test_what_cannot_be_enforced_is_refused(schema, tokenizer):
    with pytest.raises(BadSchema):
        grammar(tokenizer, size=len(tokenizer), ends=[END], schema=answer_schema(schema))


@pytest.mark.parametrize("source", [5, "x", [Person], int, object(), {"a": object()}, {1: {2, 3}}])
def test_no_schema_at_all(source):
    with pytest.raises(BadSchema):
        answer_schema(source)


def test_a_schema_that_contains_itself_or_is_too_deep():
    inside: dict = {"type": "array"}
    inside["items"] = inside
    with pytest.raises(BadSchema):
        answer_schema(inside)
    deep: dict = {}
    for _ in range(100):
        deep = {"items": deep}
    with pytest.raises(BadSchema):
        answer_schema(deep)


def test_types_come_back_as_themselves():
    assert answer_schema(Person).parse('{"name":"Ada","age":3}') == Person(name="Ada", age=3)
    assert answer_schema(Record).parse('{"name":"Ada","tags":["x"]}') == Record("Ada", ["x"])
    assert answer_schema(Point).parse('{"x":1,"y":2}') == {"x": 1, "y": 2}
    assert answer_schema({"type": "integer"}).parse("7") == 7


def test_an_answer_that_is_cut_or_refused_keeps_its_text():
    class Even(BaseModel):
        n: int

        @field_validator("n")
        @classmethod
        def even(cls, n):
            if n % 2:
                raise ValueError("odd")
            return n

    for text, schema in (('{"name":"A', Person), ('{"name":"A"}', Person), ('{"n":3}', Even)):
        with pytest.raises(BadAnswer) as caught:
            answer_schema(schema).parse(text)
        assert caught.value.text == text


def test_a_thought_is_free_and_the_answer_bound(tokenizer):
    made = grammar(
        tokenizer, size=len(tokenizer), ends=[END], schema=answer_schema({"type": "boolean"}), thinking=True
    )
    matcher = made.matcher()
    for token in (CONTROL["<|channel>"], *tokenizer.encode("two plus <b>", add_special_tokens=False)):
        assert matcher.consume_token(token)
    assert matcher.consume_token(CONTROL["<channel|>"])
    rest = tokenizer.encode("true", add_special_tokens=False)
    assert matcher.validate_tokens(rest) == len(rest)
    assert matcher.validate_tokens(tokenizer.encode("no", add_special_tokens=False)) == 0


def test_the_tokenizer_is_built_once(tokenizer, monkeypatch):
    import llguidance.hf

    grammar(tokenizer, size=len(tokenizer), ends=[END], schema=answer_schema({"type": "null"}))
    monkeypatch.setattr(llguidance.hf, "from_tokenizer", None)
    grammar(tokenizer, size=len(tokenizer), ends=[END], schema=answer_schema({"type": "boolean"}))

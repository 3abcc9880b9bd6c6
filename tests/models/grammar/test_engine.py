"""Whatever is sampled under a grammar satisfies it; what cannot be enforced is refused."""

from __future__ import annotations

import gc
import json
import weakref
from dataclasses import dataclass
from typing import TypedDict

import numpy as np
import pytest
from llguidance import numpy as engine
from pydantic import BaseModel, field_validator
from support.grammars import CONTROL, END, sample
from transformers import AutoTokenizer

from gemma_lab.assets import data_path
from gemma_lab.errors import BadAnswer, BadSchema
from gemma_lab.models.grammar.engine import grammar
from gemma_lab.models.grammar.schema import answer_schema, first_fault
from gemma_lab.models.tokens.vocabulary import Vocabulary


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


def test_the_tokenizer_is_built_once_and_dropped_with_its_own(tokenizer, monkeypatch):
    import llguidance

    grammar(tokenizer, size=len(tokenizer), ends=[END], schema=answer_schema({"type": "null"}))
    other = AutoTokenizer.from_pretrained(data_path("minis/mini-moe"))
    grammar(other, size=len(other), ends=[END], schema=answer_schema({"type": "null"}))
    gone = weakref.ref(other)
    del other
    gc.collect()
    assert gone() is None
    monkeypatch.setattr(llguidance, "LLTokenizer", None)
    grammar(tokenizer, size=len(tokenizer), ends=[END], schema=answer_schema({"type": "boolean"}))


def test_every_text_token_may_stand_in_a_string_and_no_other(tokenizer):
    """Tags of the vocabulary are text, as far as the tokenizer does not call them control tokens."""
    own = AutoTokenizer.from_pretrained(data_path("minis/mini-moe"))
    own.add_tokens(["<b>", "<table>", "<unused7>"])
    size = len(own) + 5  # a model may have more rows than its vocabulary
    made = grammar(own, size=size, ends=[END, 1], schema=answer_schema({"type": "string"}))
    matcher = made.matcher()
    for token in own.encode('"', add_special_tokens=False):
        assert matcher.consume_token(token)
    mask = engine.allocate_token_bitmask(1, made.size)
    engine.fill_next_token_bitmask(matcher, mask, 0)
    allowed = set(np.flatnonzero(np.unpackbits(mask[0].view(np.uint8), bitorder="little")[:size]).tolist())
    vocabulary = Vocabulary(own)
    for name in ("<b>", "<table>"):
        assert own.convert_tokens_to_ids(name) in allowed
    assert own.convert_tokens_to_ids("<unused7>") not in allowed
    assert not allowed & set(range(len(own), size))
    for index in range(len(own)):
        text = vocabulary.bytes(index)
        if vocabulary.is_special(index) or text == b"\xff":
            assert index not in allowed, vocabulary.name(index)
        elif text.isalnum():
            assert index in allowed, text


def test_masks_are_those_of_the_library_s_own_tokenizer(tokenizer):
    """An independent construction of the same tokenizer allows the same tokens at every step."""
    import llguidance.hf
    from llguidance import LLMatcher

    made = grammar(tokenizer, size=len(tokenizer), ends=[END, 1], schema=answer_schema(Record))
    other = llguidance.hf.from_tokenizer(tokenizer, n_vocab=len(tokenizer), eos_token=[END, 1])
    kit, theirs = made.matcher(), LLMatcher(other, LLMatcher.grammar_from_lark(made.source))
    masks = [engine.allocate_token_bitmask(1, made.size) for _ in range(2)]
    text = [not tokenizer.convert_ids_to_tokens(index).startswith("<unused") for index in range(made.size)]
    answer = '{"name": "Ada é 你 🙂 \\n", "tags": ["x", "y z"]}'
    for token in [*tokenizer.encode(answer, add_special_tokens=False), END]:
        for matcher, mask in zip((kit, theirs), masks, strict=True):
            engine.fill_next_token_bitmask(matcher, mask, 0)
        one, two = (np.unpackbits(mask[0].view(np.uint8), bitorder="little")[: made.size] for mask in masks)
        assert (one[text] == two[text]).all(), token
        assert kit.consume_token(token)
        assert theirs.consume_token(token)
    assert kit.is_accepting()

"""Calls sampled under a grammar are read back, and their arguments satisfy the declaration."""

from __future__ import annotations

import json

import numpy as np
import pytest
from support.grammars import END, sample
from transformers import AutoTokenizer

from gemma_lab.assets import data_path
from gemma_lab.errors import BadSchema
from gemma_lab.models.chat.tools import calls
from gemma_lab.models.grammar.engine import grammar
from gemma_lab.models.grammar.schema import first_fault

CASES = json.loads(data_path("bfcl/cases.json").read_text(encoding="utf-8"))


def function(name, properties, required=(), **more):
    parameters = {"type": "object", "properties": properties, "required": list(required), **more}
    return {"type": "function", "function": {"name": name, "description": "", "parameters": parameters}}


NESTED = function(
    "book",
    {
        "city": {"type": "string"}, "days": {"type": "integer"}, "unit": {"enum": ["C", "F", None, 3]},
        "at": {"type": "object", "properties": {"lat": {"type": "number"}, "lon": {"type": "number"}},
               "required": ["lat"]},
        "tags": {"type": "array", "items": {"type": "string", "minLength": 1, "maxLength": 3}, "maxItems": 2},
        "any": {}, "maybe": {"anyOf": [{"type": "boolean"}, {"type": "null"}]}, "on": {"type": "boolean"},
    },
    ["days", "on"],
)  # fmt: skip


@pytest.fixture(scope="module")
def tokenizer():
    return AutoTokenizer.from_pretrained(data_path("minis/mini-moe"))


@pytest.mark.parametrize(
    "tools",
    [[NESTED], *[case["tools"] for case in CASES[::4]]],
    ids=lambda tools: tools[0]["function"]["name"],
)
def test_sampled_calls_satisfy_their_declarations(tools, tokenizer):
    made = grammar(tokenizer, size=len(tokenizer), ends=[END, 1], tools=tools, tool_choice="required")
    schemas = {tool["function"]["name"]: tool["function"]["parameters"] for tool in tools}
    rng, read = np.random.default_rng(1), 0
    for _ in range(12):
        text = sample(made, tokenizer, rng, most=200)
        if text is None:
            continue
        found = calls(text)
        assert found
        for call in found:
            assert not call.problem, (call.problem, text)
            assert first_fault(call.arguments, schemas[call.name]) is None, text
            read += 1
    assert read > 3


@pytest.mark.parametrize("choice", ["auto", "none"])
def test_text_spells_no_control_token(choice, tokenizer):
    matcher = grammar(
        tokenizer, size=len(tokenizer), ends=[END], tools=[NESTED], tool_choice=choice
    ).matcher()
    for piece in ("<", "|", "|>"):
        for token in tokenizer.encode(piece, add_special_tokens=False):
            if not matcher.consume_token(token) or matcher.is_error():
                return
    pytest.fail("'<||>' was allowed as text")


def test_one_tool_can_be_demanded(tokenizer):
    tools = [NESTED, function("stop", {})]
    made = grammar(tokenizer, size=len(tokenizer), ends=[END], tools=tools, tool_choice="stop")
    rng = np.random.default_rng(0)
    assert {sample(made, tokenizer, rng) for _ in range(3)} == {"<|tool_call>call:stop{}<tool_call|>"}


def test_a_tool_that_is_not_there_is_named(tokenizer):
    with pytest.raises(BadSchema, match="book"):
        grammar(tokenizer, size=len(tokenizer), ends=[END], tools=[NESTED], tool_choice="fly")


@pytest.mark.parametrize(
    "part",
    [
        {"type": "string", "pattern": "a+"}, {"minimum": 3}, {"format": "date"}, {"minLength": 2},
        {"type": "string", "format": "email"}, {"type": "integer", "minimum": 5, "maximum": 3},
        {"type": "object", "propertyNames": {"maxLength": 2}}, {"enum": ["a"], "minLength": 2},
        {"anyOf": [{"type": "string"}], "maxLength": 3}, {"type": "object", "required": ["x"]},
        {"not": {}}, {"enum": ["<|turn>"]}, {"enum": []}, {"type": "thing"}, {"$ref": "#/$defs/none"},
        {"type": "array", "items": {"allOf": [{}]}}, {"enum": [{"a": 1}]}, False,
        {"type": "array", "minItems": 3, "maxItems": 1},
    ],
    ids=str,
)  # fmt: skip
def test_what_cannot_be_enforced_names_its_path(part, tokenizer):
    with pytest.raises(BadSchema):
        grammar(
            tokenizer, size=len(tokenizer), ends=[END], tools=[function("f", {"a": part})], tool_choice="auto"
        )


def test_definitions_may_refer_to_themselves(tokenizer):
    node = {"type": "object", "properties": {"next": {"anyOf": [{"$ref": "#/$defs/node"}, {"type": "null"}]}}}
    tool = function("walk", {"start": {"$ref": "#/$defs/node"}}, ["start"], **{"$defs": {"node": node}})
    made = grammar(tokenizer, size=len(tokenizer), ends=[END], tools=[tool], tool_choice="required")
    rng = np.random.default_rng(3)
    texts = [text for _ in range(20) if (text := sample(made, tokenizer, rng)) is not None]
    assert texts
    for text in texts:
        for call in calls(text):
            assert first_fault(call.arguments, tool["function"]["parameters"]) is None


Q = '<|"|>'


def accepted(tools, tokenizer, *texts):
    """Whether each text is a call that the grammar allows."""
    made = grammar(tokenizer, size=len(tokenizer), ends=[END], tools=tools, tool_choice="required")
    found = []
    for text in texts:
        matcher = made.matcher()
        ids = tokenizer.encode(f"<|tool_call>{text}<tool_call|>", add_special_tokens=False)
        found.append(matcher.validate_tokens(ids) == len(ids))
    return found


@pytest.mark.parametrize(
    ("part", "right", "wrong"),
    [
        ({"type": "object", "additionalProperties": {"type": "integer"}}, "{New York:1,b:2}", "{b:true}"),
        (
            {"type": "object", "properties": {}, "additionalProperties": {"type": "integer"}},
            "{a:1}",
            "{a:null}",
        ),
        ({"type": "object"}, f"{{a:{Q}x{Q},b:[1]}}", "{:1}"),
        ({"type": "object", "additionalProperties": False}, "{}", "{a:1}"),
        (
            {"type": "object", "properties": {"a": {"type": "integer"}}, "additionalProperties": True},
            "{a:1,ab:true}",
            "{a:true}",
        ),
        ({"type": "integer", "minimum": 1, "maximum": 5}, "5", "6"),
        ({"type": "number", "exclusiveMinimum": 0, "maximum": 0.5}, "0.2", "0"),
        ({"type": "string", "format": "date"}, f"{Q}2024-02-29{Q}", f"{Q}2023-02-29{Q}"),
        ({"type": "string", "format": "date-time"}, f"{Q}2026-01-02T03:04:05Z{Q}", f"{Q}2026-01-02{Q}"),
        ({"type": "string", "enum": ["a", "b"], "nullable": True}, "null", f"{Q}c{Q}"),
        ({"enum": [1, 5], "minimum": 3}, "5", "1"),
    ],
    ids=str,
)
def test_a_value_is_what_its_declaration_allows(part, right, wrong, tokenizer):
    tools = [function("f", {"v": part}, ["v"])]
    assert accepted(tools, tokenizer, f"call:f{{v:{right}}}", f"call:f{{v:{wrong}}}") == [True, False]
    assert not calls(f"<|tool_call>call:f{{v:{right}}}<tool_call|>", tools)[0].problem


def test_definitions_of_one_name_in_two_tools_stay_apart(tokenizer):
    tools = [
        function(name, {"v": {"$ref": "#/$defs/x"}, "w": {"$ref": "#/$defs/x-"}}, ["v"],
                 **{"$defs": {"x": {"type": kind}, "x-": {"type": "null"}}})
        for name, kind in (("p", "integer"), ("q", "boolean"))
    ]  # fmt: skip
    texts = ("call:p{v:1}", "call:q{v:1}", "call:p{v:true}", "call:q{v:true}", "call:p{v:1,w:1}")
    assert accepted(tools, tokenizer, *texts) == [True, False, False, True, False]


def test_a_function_without_arguments_takes_none(tokenizer):
    tools = [function("stop", {})]
    assert accepted(tools, tokenizer, "call:stop{}", "call:stop{a:1}") == [True, False]

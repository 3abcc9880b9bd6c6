"""What users of other runtimes reported about Gemma 4's JSON and tool calls, one test per report."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from support.grammars import END, sample
from transformers import AutoTokenizer

import gemma_lab as gl
from gemma_lab.errors import BadAnswer
from gemma_lab.models.chat.tools import calls, declared
from gemma_lab.models.grammar.engine import grammar
from gemma_lab.models.grammar.processor import GrammarProcessor
from gemma_lab.models.grammar.schema import answer_schema, first_fault

POINT = {
    "type": "object", "required": ["lat"], "additionalProperties": False,
    "properties": {"lat": {"type": "number"}, "tags": {"type": "array", "items": {"type": "string"}}},
}  # fmt: skip
SEARCH = {
    "name": "search",
    "parameters": {
        "type": "object", "required": ["filters"],
        "properties": {
            "filters": {"type": "array", "items": POINT, "minItems": 1, "maxItems": 2},
            "at": {"type": "object", "properties": {"inner": POINT}},
        },
    },
}  # fmt: skip


def weather(city: str):
    """Weather in a city."""


@pytest.fixture(scope="module")
def tokenizer():
    return AutoTokenizer.from_pretrained(gl.data_path("minis/mini-moe"))


def test_nested_arguments_are_enforced_and_read(tokenizer):
    """llama.cpp 21680: nested objects and arrays in calls are not parsed, and no schema is enforced."""
    tools = declared(SEARCH)
    made = grammar(tokenizer, size=len(tokenizer), ends=[END, 1], tools=tools, tool_choice="required")
    rng, nested = np.random.default_rng(5), 0
    for _ in range(25):
        text = sample(made, tokenizer, rng, most=160)
        for call in calls(text or "", tools):
            assert first_fault(call.arguments, SEARCH["parameters"]) is None, text
            nested += any("tags" in each for each in call.arguments["filters"])
    assert nested > 2


@pytest.mark.parametrize("name", ["mini-edge", "mini-moe"])
def test_a_schema_binds_after_a_thought(name):
    """llama.cpp 22396: a schema with reasoning fails to start on E2B and E4B; mini-edge has their shape."""
    reply = gl.load(name, progress=False).chat(
        "What is 24 + 17 - 6?", thinking=True, schema={"type": "integer"}, temperature=0, max_new_tokens=256
    )
    assert reply.finish_reason == "stop"
    assert reply.thinking
    assert reply.data == int(reply.text)


def test_an_answer_that_is_cut_is_an_error_with_its_text(tiny_lab):
    """ollama 15241, 15315: loops to the limit, then an empty answer without an error."""
    lab = tiny_lab("26B-A4B")
    reply = lab.chat("Hi", schema={"type": "string"}, temperature=1.5, seed=1, max_new_tokens=12)
    assert reply.finish_reason == "length"
    assert len(reply.tokens) == 12
    with pytest.raises(BadAnswer, match="12 tokens") as caught:
        _ = reply.data
    assert caught.value.text == reply.text != ""
    cut = lab.chat("Hi", tools=[weather], tool_choice="weather", temperature=1.5, seed=1, max_new_tokens=16)
    [call] = cut.calls
    assert call.problem
    assert call.text.startswith("call:weather{")


def test_no_run_of_blanks_can_begin(tokenizer):
    """vLLM 40080: JSON that goes on with blanks to the limit. Here the model wants nothing but blanks."""
    schema = {"type": "object", "additionalProperties": False, "required": ["a", "b"],
              "properties": {"a": {"type": "integer", "maximum": 9}, "b": {"type": "boolean"}}}  # fmt: skip
    scores = torch.zeros(1, len(tokenizer))
    for index in range(len(tokenizer)):
        piece = tokenizer.convert_ids_to_tokens(index)
        if not piece.strip("▁\n\t ") or piece in ("<0x20>", "<0x0A>", "<0x09>"):
            scores[0, index] = 50.0
    made = grammar(tokenizer, size=len(tokenizer), ends=[END], schema=answer_schema(schema))
    processor, ids = GrammarProcessor(made), [2]
    for _ in range(40):
        token = int(processor(torch.tensor([ids]), scores.clone()).argmax())
        if token == END:
            break
        ids.append(token)
    text = tokenizer.decode(ids[1:])
    assert first_fault(json.loads(text), schema) is None
    assert "  " not in text
    assert "\n" not in text


@pytest.mark.parametrize("size", ["E4B", "26B-A4B"])
def test_a_required_call_is_made(size, tiny_lab):
    """vLLM 39468: tool_choice="required" is ignored on E4B."""
    for seed in range(4):
        reply = tiny_lab(size).chat(
            "Hi", tools=[weather], tool_choice="required", temperature=1.5, seed=seed, max_new_tokens=24
        )
        assert reply.tokens[0].text == "<|tool_call>"
        assert reply.text == ""


@pytest.mark.parametrize("size", ["E2B", "12B", "31B"])
def test_no_end_token_leaks_into_a_choice(size, tiny_lab):
    """omlx 1087: ``<eos>`` is part of an answer that is one of some choices."""
    choices = ["yes", "no", "yes and no"]
    for seed in range(4):
        reply = tiny_lab(size).chat(
            "Hi", schema={"enum": choices}, temperature=1.5, seed=seed, max_new_tokens=32
        )
        assert reply.data in choices
        assert json.loads(reply.text) == reply.data


def test_calls_are_read_among_text_and_beside_each_other(tokenizer):
    """LM Studio 2013, hermes-agent 7449: calls after text, or several in a turn, are lost."""
    one = '<|tool_call>call:weather{city:<|"|>Rome, {Italy}<|"|>}<tool_call|>'
    two = '<|tool_call>call:weather{city:<|"|>a "b" \\ c<|"|>}<tool_call|>'
    found = calls(f"Let me look.{one}\n{two} Done.", declared(weather))
    assert [call.arguments["city"] for call in found] == ["Rome, {Italy}", 'a "b" \\ c']
    made = grammar(tokenizer, size=len(tokenizer), ends=[END], tools=declared(weather), tool_choice="auto")
    matcher = made.matcher()
    ids = tokenizer.encode(f"Let me look.{one}{two}", add_special_tokens=False)
    assert all(matcher.consume_token(index) for index in ids)
    assert matcher.is_accepting()


def test_the_beginning_is_there_once(tiny_lab):
    """camelid 238, llama.cpp 21500: files with ``add_bos_token: false``."""
    lab = tiny_lab("E2B")
    kept = lab.tokenizer.add_bos_token
    try:
        for wanted in (True, False):
            lab.tokenizer.add_bos_token = wanted
            for options in ({}, {"raw": True}):
                ids = lab.trace("Hi", **options).tokens.ids.tolist()
                assert ids.count(lab.tokenizer.bos_token_id) == 1
                assert ids[0] == lab.tokenizer.bos_token_id
    finally:
        lab.tokenizer.add_bos_token = kept


def test_types_of_arguments_are_declared():
    """A template without types of arguments declares ``None``; a list of types must not become one either."""
    maybe = {"type": ["string", "null"], "description": "where"}
    tool = {"name": "f", "parameters": {"type": "object", "properties": {"a": maybe, "b": {"enum": ["x"]}}}}
    trace = gl.load("mini-moe", progress=False).trace("Hi", tools=[tool])
    prompt = "".join(map(str, trace.tokens.pieces)).replace("▁", " ")
    assert prompt.lower().count("string") == 2
    assert "None" not in prompt

"""Answers bound by a schema, calls bound to their declarations, and what the grammar overruled."""

from __future__ import annotations

import json

import pytest
from pydantic import BaseModel
from support.shapes import SIZES

import gemma_lab as gl
from gemma_lab.errors import BadAnswer, BadPrompt, LabError
from gemma_lab.models.chat.request import Request
from gemma_lab.models.grammar.schema import first_fault

RECORD = {
    "type": "object",
    "additionalProperties": False,
    "required": ["name", "n"],
    "properties": {
        "name": {"type": "string", "maxLength": 4},
        "n": {"type": "integer", "maximum": 99, "minimum": 0},
    },
}


class Record(BaseModel):
    name: str
    n: int


def weather(city: str, days: int = 1):
    """Weather in a city."""


@pytest.fixture(scope="module")
def mini():
    return gl.load("mini-moe", progress=False)


@pytest.mark.parametrize("size", SIZES)
def test_random_weights_at_a_high_temperature_write_valid_json(size, tiny_lab):
    lab = tiny_lab(size)
    for seed in range(6):
        reply = lab.chat("Hi", schema=RECORD, temperature=1.5, seed=seed, max_new_tokens=64, top_logprobs=1)
        assert reply.finish_reason == "stop", reply
        assert first_fault(json.loads(reply.text), RECORD) is None
        assert reply.data == json.loads(reply.text)


@pytest.mark.parametrize("size", ["E2B", "26B-A4B"])
def test_random_weights_make_valid_calls(size, tiny_lab):
    lab = tiny_lab(size)
    for seed in range(6):
        reply = lab.chat(
            "Hi", tools=[weather], tool_choice="weather", temperature=1.5, seed=seed, max_new_tokens=200
        )
        if reply.finish_reason == "stop":
            [call] = reply.calls
            assert not call.faults([weather]), call


def test_without_a_schema_nothing_changes(mini):
    free = mini.chat("Write 47 in German words.", temperature=0, max_new_tokens=12)
    assert all(token.overruled is None for token in free.tokens)
    assert free == mini.chat("Write 47 in German words.", temperature=0, max_new_tokens=12)


def test_what_the_grammar_overruled_is_said_token_by_token(mini):
    reply = mini.chat(
        "Write 47 in German words.", schema={"type": "integer"}, temperature=0, max_new_tokens=8
    )
    free = mini.chat("Write 47 in German words.", temperature=0, max_new_tokens=1)
    first = reply.tokens[0].overruled
    assert first.changed
    assert first.first_choice == free.tokens[0].text
    assert 0.5 < first.forbidden <= 1
    assert isinstance(reply.data, int)
    obeyed = mini.chat(
        "The code of Ada is 47. What is the code of Ada?", schema={"type": "integer"}, temperature=0
    )
    assert obeyed.data == 47
    assert not any(token.overruled.changed for token in obeyed.tokens)
    assert obeyed.tokens[0].overruled.forbidden < 0.5


def test_a_thought_is_free_and_the_answer_bound(mini):
    reply = mini.chat(
        "What is 24 + 17 - 6?", thinking=True, schema={"type": "integer"}, temperature=0, max_new_tokens=256
    )
    assert "=" in reply.thinking
    assert reply.data == int(reply.text)


def test_a_cut_answer_keeps_its_text(mini):
    reply = mini.chat("Hi", schema=Record, temperature=0, max_new_tokens=2)
    assert reply.finish_reason == "length"
    with pytest.raises(BadAnswer, match="2 tokens") as caught:
        _ = reply.data
    assert caught.value.text == reply.text
    assert caught.value.partial == {}


ASKED = (
    "Xenia has the number 693. Xenia has the lamp. "
    "Write this as JSON with the keys name (string), tags (list), n (number)."
)
NOTED = {
    "type": "object",
    "additionalProperties": False,
    "required": ["name", "tags", "n"],
    "properties": {
        "name": {"type": "string", "maxLength": 8},
        "tags": {"type": "array", "items": {"type": "string", "maxLength": 5}, "minItems": 1, "maxItems": 2},
        "n": {"type": "integer", "maximum": 999},
    },
}


def grows(before, after):
    """Whether a partial value is the beginning of another."""
    if before is None:
        return True
    if isinstance(before, str):
        return after.startswith(before)
    if isinstance(before, dict):
        return list(after)[: len(before)] == list(before) and all(
            grows(value, after[key]) for key, value in before.items()
        )
    if isinstance(before, list):
        return len(before) <= len(after) and all(map(grows, before, after))
    return before == after


def test_a_stream_shows_the_value_so_far(mini):
    options = {"schema": NOTED, "temperature": 0, "max_new_tokens": 96}
    with mini.stream(ASKED, **options) as stream:
        partials = [chunk.partial for chunk in stream]
    assert stream.reply == mini.chat(ASKED, **options)
    assert partials[-1] == stream.reply.data
    assert all(map(grows, partials, [*partials[1:], stream.reply.data]))
    assert len({json.dumps(partial) for partial in partials}) > 4
    assert {len(partial or {}) for partial in partials} == {0, 1, 2, 3}


def test_a_stream_that_is_left_keeps_what_it_had(mini):
    with mini.stream(ASKED, schema=NOTED, temperature=0, max_new_tokens=96) as stream:
        chunk = next(each for each in stream if each.partial and "name" in each.partial)
    assert stream.reply.finish_reason == "stopped"
    with pytest.raises(BadAnswer, match="stopped") as caught:
        _ = stream.reply.data
    assert caught.value.text == stream.reply.text
    assert grows(chunk.partial, caught.value.partial)


def test_thoughts_and_free_answers_have_no_value(mini):
    ask = {"thinking": True, "temperature": 0, "max_new_tokens": 256}
    with mini.stream("What is 24 + 17 - 6?", schema=RECORD, **ask) as stream:
        chunks = list(stream)
    assert {chunk.kind for chunk in chunks} == {"thought", "text"}
    assert all(chunk.partial is None for chunk in chunks if chunk.kind == "thought")
    assert chunks[-1].partial == stream.reply.data
    with mini.stream('Repeat the word {"a":1}.', temperature=0, max_new_tokens=8) as free:
        assert all(chunk.partial is None for chunk in free)


def test_an_instance_of_the_type_comes_back(tiny_lab):
    reply = tiny_lab("E2B").chat("Hi", schema=Record, temperature=1.5, seed=2, max_new_tokens=400)
    if reply.finish_reason == "stop":
        assert isinstance(reply.data, Record)


@pytest.mark.parametrize("choice", ["auto", "required", "weather"])
def test_calls_are_made_as_the_choice_says(choice, mini):
    reply = mini.chat(
        "What is the weather in Rome?", tools=[weather], tool_choice=choice, temperature=0, max_new_tokens=40
    )
    [call] = reply.calls
    assert (call.name, call.arguments) == ("weather", {"city": "Rome"})


def test_no_call_is_made_where_none_is_allowed(mini):
    reply = mini.chat(
        "What is the weather in Rome?", tools=[weather], tool_choice="none", temperature=0, max_new_tokens=8
    )
    assert reply.calls == ()
    assert reply.tokens[0].overruled.changed


@pytest.mark.parametrize(
    "options",
    [
        {"tool_choice": "required"},
        {"tool_choice": "fly", "tools": [weather]},
        {"schema": 5},
        {"schema": {"not": {}}},
        {"schema": {"type": "integer"}, "tools": [weather], "tool_choice": "auto"},
    ],
)
def test_what_cannot_be_enforced_is_refused_before_anything_runs(options, mini):
    with pytest.raises(LabError):
        mini.chat("Hi", **options)


def test_a_stream_and_a_trace_are_bound_alike(mini, tmp_path):
    options = {"schema": {"type": "integer"}, "temperature": 0, "max_new_tokens": 8}
    reply = mini.chat("Write 47 in German words.", **options)
    with mini.stream("Write 47 in German words.", **options) as stream:
        assert "".join(chunk.text for chunk in stream) == reply.text
    trace = mini.trace("Write 47 in German words.", **options)
    assert trace.generation.text == reply.text
    of_reply = [token.overruled for token in reply.tokens]
    assert trace.generation.forbidden.tolist() == pytest.approx([each.forbidden for each in of_reply])
    assert trace.generation.first_choice_ids.tolist() == [each.first_choice_id for each in of_reply]
    assert trace.generation.overruled.tolist() == [each.changed for each in of_reply]
    of_trace, same = map(gl.analysis.overruled_tokens, (trace, reply))
    assert of_trace.overruled.tolist() == same.overruled.tolist()
    assert of_trace.forbidden == pytest.approx(same.forbidden)
    assert of_trace.first == same.first == 0
    saved = trace.save(tmp_path / "bound.trace")
    assert gl.open_trace(saved).equal(trace)
    assert trace.to_arrow()["generation"]["overruled"].to_pylist() == trace.generation.overruled.tolist()
    assert mini.trace(Request.from_meta(trace.meta)).equal(trace)


def test_a_schema_is_no_part_of_the_prompt(mini):
    assert (
        mini.chat("Hi", schema=RECORD, max_new_tokens=1).prompt_tokens
        == mini.chat("Hi", max_new_tokens=1).prompt_tokens
    )
    with pytest.raises(BadPrompt):
        mini.chat([], schema=RECORD)

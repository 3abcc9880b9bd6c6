"""Tools: declared as the chat format takes them, calls read and never executed, results put back."""

from __future__ import annotations

from typing import Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.templates import prompt_text

from gemma_lab.errors import BadPrompt, LabError
from gemma_lab.models.chat.messages import conversation
from gemma_lab.models.chat.plain_json import plain, refuse_control
from gemma_lab.models.chat.tools import Call, calls, declared

Q = '<|"|>'
WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather", "description": "Weather in a city",
        "parameters": {
            "type": "object", "required": ["city"],
            "properties": {"city": {"type": "string"}, "days": {"type": "integer"},
                           "unit": {"type": "string", "enum": ["C", "F"]}},
        },
    },
}  # fmt: skip


def test_calls_are_read_in_order_and_the_unreadable_name_their_problem():
    text = (
        f"<|tool_call>call:get_weather{{city:{Q}Rome{Q}}}<tool_call|>"
        "<|tool_call>call:now{}<tool_call|><|tool_call>open(<tool_call|><|tool_call>call:now{"
    )
    first, second, third, fourth = calls(text)
    assert first == Call("get_weather", {"city": "Rome"})
    assert second == Call("now", {})
    assert (third.name, third.arguments, third.text) == ("", {}, "open(")
    assert third.problem
    assert "cut off" in fourth.problem
    assert calls("no call at all") == ()


def test_a_call_that_was_not_closed_does_not_swallow_the_next():
    first, second = calls("<|tool_call>call:a{<|tool_call>call:b{}<tool_call|>")
    assert "cut off" in first.problem
    assert second == Call("b", {})


def test_a_message_holds_the_call_as_templates_take_it():
    function = {"name": "f", "arguments": {"a": 1}}
    assert Call("f", {"a": 1}).message == {"type": "function", "function": function}


def test_a_call_that_cannot_be_read_is_no_call_of_any_tool():
    assert Call("", problem="it was cut off").faults([WEATHER]) == ["it was cut off"]
    assert len(Call("weather", {"city": "Rome"}).faults([WEATHER])) == 1
    assert Call("get_weather", {"city": "Rome", "days": 2, "unit": "C"}).faults([WEATHER]) == []


def test_functions_are_declared_by_their_signature_and_never_called():
    def get_weather(city: str, days: int = 1, unit: Literal["C", "F"] = "C", tags: list[str] | None = None):
        """Weather in a city.

        More about it.
        """
        raise AssertionError

    (tool,) = declared([get_weather])
    assert tool["function"] == {
        "name": "get_weather", "description": "Weather in a city",
        "parameters": {
            "type": "object",
            "properties": {
                "city": {"type": "string"}, "days": {"type": "integer"},
                "unit": {"type": "string", "enum": ["C", "F"]},
                "tags": {"type": "array", "items": {"type": "string"}, "nullable": True},
            },
            "required": ["city"],
        },
    }  # fmt: skip
    assert declared(get_weather) == (tool,)


def test_declarations_pass_with_or_without_their_outer_part():
    assert declared([WEATHER]) == declared([WEATHER["function"]]) == declared(WEATHER)
    assert declared([{"name": "now"}])[0]["function"] == {"name": "now", "description": ""}
    assert declared([]) == ()


def test_two_tools_of_one_name_are_refused():
    with pytest.raises(BadPrompt, match="get_weather"):
        declared([WEATHER, WEATHER])


@pytest.mark.parametrize(
    "token",
    [
        "<|turn>",
        "<turn|>",
        "<|tool_response>",
        "<tool_response|>",
        "<|think|>",
        Q,
        "<|channel>",
        "<|image|>",
        "<eos>",
    ],
)
def test_control_tokens_from_outside_are_refused_at_every_depth(token):
    for value in (token, {"a": [f"x{token}y"]}, {token: 1}, [[{"a": {"b": token}}]]):
        with pytest.raises(BadPrompt) as caught:
            plain(value, "It")
        assert token in caught.value.what


def test_other_text_passes():
    refuse_control({"html": "<b>5 < 7 | 8</b> <|x|> <mask>", "n": [1, None, True]}, "It")


KEYS = st.sampled_from(
    [
        "name",
        "description",
        "parameters",
        "type",
        "function",
        "properties",
        "required",
        "items",
        "enum",
        "const",
        "anyOf",
        "$ref",
        "$defs",
        "nullable",
        "additionalProperties",
        "input_schema",
        "a",
        "b",
    ]
)
WORDS = st.sampled_from(
    ["object", "string", "array", "integer", "null", "function", "a", "#/$defs/a", "#", "f"]
)
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 2) | WORDS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=12,
)
SCHEMAS = st.recursive(
    st.fixed_dictionaries({"type": WORDS}, optional={"enum": ANYTHING, "description": ANYTHING}) | ANYTHING,
    lambda inner: (
        st.fixed_dictionaries(
            {"type": st.just("object"), "properties": st.dictionaries(KEYS, inner, max_size=3)},
            optional={
                "required": st.lists(KEYS, max_size=2),
                "$defs": st.dictionaries(KEYS, inner, max_size=2),
            },
        )
        | inner.map(lambda schema: {"type": "array", "items": schema})
        | st.lists(inner, min_size=1, max_size=2).map(lambda branches: {"anyOf": branches})
    ),
    max_leaves=6,
)


@settings(max_examples=300, deadline=None)
@given(ANYTHING | SCHEMAS.map(lambda schema: {"name": "f", "parameters": schema}), ANYTHING)
def test_any_tool_at_all_is_declared_and_written_or_refused(tool, arguments):
    try:
        tools = declared(tool)
    except LabError:
        return
    assert declared(tools) == tools
    assert prompt_text(conversation("x"), tools)
    for each in tools:
        Call(each["function"]["name"], arguments if isinstance(arguments, dict) else {}).faults(tools)

"""Tools: declared as the chat format takes them, calls read and never executed, results put back."""

from __future__ import annotations

from typing import Literal

import pytest

from gemma_lab.errors import BadPrompt
from gemma_lab.models.chat.tools import Call, calls, declared, refuse_control

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


def test_calls_are_read_in_order_and_the_unreadable_say_why():
    text = (
        f"<|tool_call>call:get_weather{{city:{Q}Rome{Q}}}<tool_call|>"
        "<|tool_call>call:now{}<tool_call|><|tool_call>open(<tool_call|><|tool_call>call:now{"
    )
    first, second, third, fourth = calls(text)
    assert first == Call("get_weather", {"city": "Rome"})
    assert second == Call("now", {})
    assert (third.name, third.arguments, third.text) == ("", {}, "open(")
    assert "does not begin" in third.problem
    assert fourth.problem == "it was cut off"
    assert calls("no call at all") == ()


def test_a_call_that_was_not_closed_does_not_swallow_the_next():
    first, second = calls("<|tool_call>call:a{<|tool_call>call:b{}<tool_call|>")
    assert first.problem == "it was cut off"
    assert second == Call("b", {})


def test_a_message_holds_the_call_as_the_template_takes_it():
    assert Call("f", {"a": 1}).message == {
        "type": "function", "function": {"name": "f", "arguments": {"a": 1}},
    }  # fmt: skip


@pytest.mark.parametrize(
    ("call", "fault"),
    [
        (Call("get_weather", {"city": "Rome", "days": 2, "unit": "C"}), None),
        (Call("weather", {"city": "Rome"}), "no function named weather"),
        (Call("get_weather", {}), "city is missing"),
        (Call("get_weather", {"city": "Rome", "when": 1}), "no argument when"),
        (Call("get_weather", {"city": 3}), "city is 3, not string"),
        (Call("get_weather", {"city": "Rome", "days": True}), "days is True, not integer"),
        (Call("get_weather", {"city": "Rome", "days": 1.5}), "days is 1.5, not integer"),
        (Call("get_weather", {"city": "Rome", "unit": "K"}), "unit is 'K'"),
        (Call("", problem="it was cut off"), "it was cut off"),
    ],
)
def test_faults_of_a_call_are_named(call, fault):
    faults = call.faults([WEATHER])
    assert (not faults) if fault is None else fault in faults[0]


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


def _untyped(city):
    return city


@pytest.mark.parametrize(
    ("tools", "why"),
    [
        ([{"description": "no name"}], "without a name"),
        ([7], "is a int"),
        ([{"name": "two words"}], "named 'two words'"),
        ([{"name": "f\n"}], "named"),
        ([WEATHER, WEATHER], "Two tools are named get_weather"),
        ([_untyped], r"type of _untyped\(city\)"),
        ([{"name": "f", "description": "ends<tool|>"}], r"holds <tool\|>"),
        ([{"name": "f", "parameters": {"properties": {"<|turn>": {}}}}], r"holds <\|turn>"),
    ],
)
def test_what_is_no_tool_is_refused(tools, why):
    with pytest.raises(BadPrompt, match=why):
        declared(tools)


@pytest.mark.parametrize(
    "token",
    ["<|turn>", "<turn|>", "<|tool_response>", "<tool_response|>", "<|think|>", Q,
     "<|channel>", "<|image|>", "<eos>"],
)  # fmt: skip
def test_control_tokens_from_outside_are_refused_wherever_they_stand(token):
    for value in (token, {"a": [f"x{token}y"]}, {token: 1}):
        with pytest.raises(BadPrompt, match="holds"):
            refuse_control(value, "It")


def test_other_text_passes():
    refuse_control({"html": "<b>5 < 7 | 8</b> <|x|> <mask>", "n": [1, None, True]}, "It")

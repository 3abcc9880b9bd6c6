"""One call in Gemma 4's syntax: read exactly, or refused with what and where."""

from __future__ import annotations

import json
import re

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from support.templates import REVISIONS, prompt_text

from gemma_lab.errors import BadPrompt
from gemma_lab.models.chat.messages import conversation
from gemma_lab.models.chat.tool_call_parser import BadCall, locate_values, read_call, write_call

Q = '<|"|>'


@pytest.mark.parametrize(
    ("text", "name", "arguments"),
    [
        (f"call:get_weather{{city:{Q}London{Q}}}", "get_weather", {"city": "London"}),
        ("call:now{}", "now", {}),
        ("call:a.b-c{ n : -7 , x : 1.5e3 }", "a.b-c", {"n": -7, "x": 1500.0}),
        ("call:f{a:true,b:false,c:null}", "f", {"a": True, "b": False, "c": None}),
        (
            f"call:f{{at:[1,{Q}two{Q},[]],in:{{{Q}a key{Q}:{{}}}}}}",
            "f",
            {"at": [1, "two", []], "in": {"a key": {}}},
        ),
        (f"call:f{{s:{Q}, }} : \n] call:g{{{Q}}}", "f", {"s": ", } : \n] call:g{"}),
        (f"call:f{{s:{Q}{Q}}}", "f", {"s": ""}),
        (f"call:f{{город:{Q}القاهرة 👩‍👩‍👧{Q}}}", "f", {"город": "القاهرة 👩‍👩‍👧"}),
    ],
)
def test_what_is_in_the_syntax_is_read(text, name, arguments):
    assert read_call(text) == (name, arguments)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "does not begin"),
        ("get_weather{}", "does not begin"),
        ("call:{}", "does not begin"),
        ("call:2f{}", "does not begin"),
        ("call:f", "does not begin"),
        ("call:f{", "no key"),
        ("call:f{a:1", "neither , nor }"),
        ("call:f{a:1}}", "something follows"),
        ("call:f{a:1} now", "something follows"),
        (f"call:f{{a:{Q}open}}", "does not end"),
        ("call:f{a:London}", "no value"),
        ('call:f{a:"London"}', "no value"),
        ("call:f{a:NaN}", "no value"),
        ("call:f{a:01}", "no value"),
        ("call:f{a:1e999}", "too large"),
        ("call:f{a:" + "9" * 5000 + "}", "characters long"),
        ("call:f{a:1,a:2}", "twice"),
        ("call:f{a:[1,]}", "no value"),
        ("call:f{a:1,}", "no key"),
        ("call:f{a 1}", "no key"),
        ("call:f{a 1,b:2}", "no key"),
        ("call:f{a:__import__('os').system('id')}", "no value"),
        ("call:f{a:" + "[" * 5000, "nested"),
    ],
)
def test_what_is_not_is_refused(text, why):
    with pytest.raises(BadCall, match=why):
        read_call(text)


def test_long_calls_are_read():
    text = "call:f{a:[" + ",".join(["1"] * 40_000) + f"],b:{Q}" + "x<|" * 40_000 + f"{Q}}}"
    assert read_call(text) == ("f", {"a": [1] * 40_000, "b": "x<|" * 40_000})


def test_declared_names_are_tried_first_the_longest_one_first():
    text = f"call:f{{a, b:1,a:2,c:{{a, b:{Q}x{Q}}}}}"
    assert read_call(text, ["a", "a, b", "c"])[1] == {"a, b": 1, "a": 2, "c": {"a, b": "x"}}
    with pytest.raises(BadCall):
        read_call(text)


NAMES = st.text("abcXYZ_019ß語", min_size=1, max_size=5)
TEXTS = st.text(max_size=12)
SCALARS = st.none() | st.booleans() | st.integers(-(10**30), 10**30) | TEXTS
SCALARS |= st.floats(allow_nan=False, allow_infinity=False)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=12,
)


def _written(arguments, name="mini"):
    """Return a call as a chat template writes it, without its delimiters."""
    call = {"type": "function", "function": {"name": "f", "arguments": arguments}}
    messages = conversation(
        [
            {"role": "user", "content": "x"},
            {"role": "assistant", "content": "", "tool_calls": [call]},
            {"role": "tool", "content": "y"},
        ]
    )
    text = prompt_text(messages, name=name)
    return text.split("<|tool_call>")[1].split("<tool_call|>")[0]


@settings(max_examples=150, deadline=None)
@given(st.dictionaries(NAMES, VALUES, max_size=4), st.sampled_from(["mini", *REVISIONS]))
def test_what_a_template_writes_is_read_back(arguments, name):
    assume(not re.search(r"<\||\|>|<bos>|<eos>|<pad>", json.dumps(arguments, ensure_ascii=False)))
    written = _written(arguments, name)
    assert read_call(written) == ("f", arguments)
    assert sorted(written) == sorted(write_call("f", arguments))  # the order of keys is the template's


@settings(max_examples=150, deadline=None)
@given(st.dictionaries(st.text(max_size=8), SCALARS, min_size=1, max_size=3))
def test_any_key_is_read_back_by_its_declared_name_or_refused(arguments):
    try:
        written = _written(arguments)
    except BadPrompt:
        return
    assert read_call(written, arguments) == ("f", arguments)


@settings(max_examples=150, deadline=None)
@given(st.text(max_size=40), st.lists(st.text(max_size=4), max_size=3))
def test_any_text_is_read_or_refused(text, keys):
    for call in (text, f"call:f{{{text}}}"):
        try:
            name, arguments = read_call(call, keys)
        except BadCall:
            continue
        assert name
        assert isinstance(arguments, dict)


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"city": "Rome"},
        {"a": 1, "b": [1.5, True, None, "x,y"], "c": {"d": {"e": "{z}"}, "f": []}, "g": "", "h": {}},
        {"s": "日本 😀", "t": [["a"], ["b", "c"]]},
    ],
)
def test_values_are_located_where_they_are_written(arguments):
    text = "  " + write_call("f", arguments)
    name, values = locate_values(text)
    assert name == "f"
    for path, value, start, end in values:
        written = text[start:end]
        assert (value if isinstance(value, str) else write_call("f", {"x": value})[9:-1]) == written, path
    assert rebuilt(values) == arguments


def rebuilt(values):
    """The arguments that paths and values give."""
    made = {}
    for path, value, *_ in values:
        if not path:
            return value
        steps = [int(step) if step.isdigit() else step for step in re.findall(r"[^.\[\]]+", path)]
        at = made
        for step, after in zip(steps, [*steps[1:], None], strict=True):
            if isinstance(at, list):
                at.extend([None] * (step + 1 - len(at)))
                known = at[step]
            else:
                known = at.get(step)
            at[step] = value if after is None else known or ([] if isinstance(after, int) else {})
            at = at[step]
    return made


def test_what_cannot_be_read_has_no_values():
    with pytest.raises(BadCall):
        locate_values("call:f{a:}")

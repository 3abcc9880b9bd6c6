"""One call in Gemma 4's syntax: read exactly, or refused with what and where."""

from __future__ import annotations

import random

import pytest
from transformers.utils.chat_template_utils import render_jinja_template

from gemma_lab.minis.tokenizer import CONTROL
from gemma_lab.models.chat.tool_call_parser import BadCall, read_call

Q = '<|"|>'


@pytest.mark.parametrize(
    ("text", "name", "arguments"),
    [
        (f"call:get_weather{{city:{Q}London{Q}}}", "get_weather", {"city": "London"}),
        ("call:now{}", "now", {}),
        ("call:a.b-c{ n : -7 , x : 1.5e3 }", "a.b-c", {"n": -7, "x": 1500.0}),
        ("call:f{a:true,b:false,c:null}", "f", {"a": True, "b": False, "c": None}),
        (f"call:f{{at:[1,{Q}two{Q},[]],in:{{{Q}a key{Q}:{{}}}}}}", "f",
         {"at": [1, "two", []], "in": {"a key": {}}}),
        (f"call:f{{s:{Q}, }} : \n] call:g{{{Q}}}", "f", {"s": ", } : \n] call:g{"}),
        (f"call:f{{s:{Q}{Q}}}", "f", {"s": ""}),
        (f"call:f{{город:{Q}القاهرة 👩‍👩‍👧{Q}}}", "f", {"город": "القاهرة 👩‍👩‍👧"}),
    ],
)  # fmt: skip
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
        ("call:f{a:1,a:2}", "given twice"),
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


def test_reading_is_linear_in_the_length():
    import time

    def took(size):
        start = time.perf_counter()
        read_call("call:f{a:[" + ",".join(["1"] * size) + f"],b:{Q}" + "x<|" * size + f"{Q}}}")
        return time.perf_counter() - start

    took(1000)
    assert took(40_000) < 60 * max(took(4_000), 1e-3)


def _anything(rng, depth=0):
    kind = rng.randrange(7 if depth < 4 else 5)
    if kind == 5:
        return [_anything(rng, depth + 1) for _ in range(rng.randrange(4))]
    if kind == 6:
        return {f"k{n}": _anything(rng, depth + 1) for n in range(rng.randrange(4))}
    text = "".join(rng.choice("ab:,{}[]\"'<|> \n07é語") for _ in range(rng.randrange(12)))
    return (text, rng.randrange(-99, 99), rng.random(), rng.random() < 0.5, None)[kind]


def test_whatever_the_template_writes_is_read_back(chat_template):
    rng = random.Random(0)
    for _ in range(60):
        arguments = {f"a{n}": _anything(rng) for n in range(rng.randrange(5))}
        call = {"type": "function", "function": {"name": "f", "arguments": arguments}}
        messages = [{"role": "assistant", "content": "", "tool_calls": [call]}]
        texts, _ = render_jinja_template([messages], chat_template=chat_template, bos_token="")
        start, end = "<|tool_call>", f"<tool_call|>{CONTROL['str_token'][0]}"
        assert read_call(texts[0].split(start)[1].removesuffix(end)) == ("f", arguments)


@pytest.fixture(scope="module")
def chat_template():
    from pathlib import Path

    import gemma_lab.minis

    return Path(gemma_lab.minis.__file__).with_name("chat_template.jinja").read_text(encoding="utf-8")

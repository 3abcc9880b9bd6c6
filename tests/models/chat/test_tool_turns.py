"""A turn with tools, on a model that says what a script says: declared, called, answered, never executed."""

from __future__ import annotations

from functools import wraps
from pathlib import Path

import pytest
import torch

import gemma_lab as gl
import gemma_lab.minis
from gemma_lab.errors import BadPrompt
from gemma_lab.models.chat.prompt import prepare
from gemma_lab.models.chat.tools import Call

Q = '<|"|>'
TEMPLATE = Path(gemma_lab.minis.__file__).with_name("chat_template.jinja").read_text(encoding="utf-8")


def get_weather(city: str) -> str:
    """Weather in a city."""
    raise AssertionError  # nothing may call it


@pytest.fixture(scope="module")
def lab(tiny_folder):
    lab = gl.load(tiny_folder("26B-A4B"), progress=False)
    lab.processor.chat_template = TEMPLATE
    tokenizer = lab.tokenizer
    ends = [tokenizer.convert_tokens_to_ids(token) for token in ("<turn|>", "<|tool_response>")]
    lab.model.generation_config.eos_token_id = ends
    return lab


@pytest.fixture
def says(lab, monkeypatch):
    """Return a function that makes the model say a text, token by token, whatever it is asked."""
    forward, script = type(lab.model).forward, []

    @wraps(forward)
    def scripted(self, *args, **kwargs):
        output = forward(self, *args, **kwargs)
        logits = torch.full_like(output.logits, -30.0)
        logits[:, -1, script.pop(0)] = 30.0
        output.logits = logits
        return output

    monkeypatch.setattr(type(lab.model), "forward", scripted)

    def say(text):
        script[:] = lab.tokenizer.encode(text, add_special_tokens=False)

    return say


ROME = f"<|tool_call>call:get_weather{{city:{Q}Rome{Q}}}<tool_call|>"


def test_a_call_is_read_its_result_goes_back_and_the_answer_follows(lab, says):
    says(f"{ROME}<|tool_response>")
    called = lab.chat("Weather in Rome?", tools=[get_weather], temperature=0)
    assert called.calls == (Call("get_weather", {"city": "Rome"}),)
    assert called.calls[0].faults(called.tools) == []
    assert (called.text, called.finish_reason) == ("", "stop")
    assert called.messages[-1]["tool_calls"] == [called.calls[0].message]

    says("sunny<turn|>")
    answer = lab.chat(previous=called, tool_results=[{"weather": "sunny"}], temperature=0)
    assert (answer.text, answer.calls) == ("sunny", ())
    assert answer.tools == called.tools
    read = prepare(lab, gl.Request(answer.messages[:-1], tools=answer.tools)).text
    assert read.endswith(f"{ROME}<|tool_response>response:get_weather{{weather:{Q}sunny{Q}}}<tool_response|>")
    assert read.count("<|tool>declaration:get_weather") == 1

    says("yes<turn|>")
    later = lab.chat("Sure?", previous=answer, temperature=0)
    text = prepare(lab, gl.Request(later.messages[:-1], tools=later.tools)).text
    assert "<tool_response|>sunny<turn|>\n<|turn>user\nSure?<turn|>" in text
    assert "tool_responses" not in called.messages[-1]  # replies do not change


def test_a_stream_says_it_too_and_no_tools_means_none(lab, says):
    says(f"{ROME}{ROME}<|tool_response>")
    with lab.stream("Weather?", tools=get_weather, temperature=0) as stream:
        shown = "".join(chunk.text for chunk in stream)
    assert shown == ""
    assert len(stream.reply.calls) == 2
    says("fine<turn|>")
    with lab.stream(previous=stream.reply, tool_results=["dry", 7], tools=(), temperature=0) as stream:
        assert "".join(chunk.text for chunk in stream) == "fine"
    assert stream.reply.tools == ()


def test_a_thought_before_a_call_stays_within_the_turn(lab, says):
    says(f"<|channel>thought\nlook it up<channel|>{ROME}<|tool_response>")
    called = lab.chat("Weather in Rome?", tools=[get_weather], thinking=True, temperature=0)
    assert (called.thinking, len(called.calls)) == ("look it up", 1)
    says("sunny<turn|>")
    answer = lab.chat(previous=called, tool_results=["sunny"], thinking=True, temperature=0)
    text = prepare(lab, gl.Request(answer.messages[:-1], tools=answer.tools, thinking=True)).text
    assert f"thought\nlook it up\n<channel|>{ROME}" in text


def test_text_before_a_call_stays_before_it(lab, says):
    says(f"Let me look.{ROME}<|tool_response>")
    called = lab.chat("Weather in Rome?", tools=[get_weather], temperature=0)
    assert (called.text, len(called.calls)) == ("Let me look.", 1)
    says("sunny<turn|>")
    answer = lab.chat(previous=called, tool_results=["sunny"], temperature=0)
    text = prepare(lab, gl.Request(answer.messages[:-1], tools=answer.tools)).text
    assert f"<|turn>model\nLet me look.{ROME}<|tool_response>response:get_weather" in text


def test_text_behind_a_call_is_kept_and_the_tokens_keep_its_place(lab, says):
    says(f"Let me look.{ROME} One moment.{ROME}<|tool_response>")
    called = lab.chat("Weather in Rome?", tools=[get_weather], temperature=0)
    assert called.text == called.messages[-1]["content"] == "Let me look. One moment."
    assert [call["function"]["name"] for call in called.messages[-1]["tool_calls"]] == ["get_weather"] * 2
    kinds = [token.kind for token in called.tokens]
    assert [kind for kind, before in zip(kinds, [None, *kinds], strict=False) if kind != before] == [
        "text",
        "tool",
        "text",
        "tool",
        "special",
    ]
    assert "".join(token.text for token in called.tokens) == f"Let me look.{ROME} One moment.{ROME}"


def test_calls_are_read_by_the_names_that_were_declared(lab, says):
    schema = {"type": "object", "properties": {"city, country": {"type": "string"}}}
    says(f"<|tool_call>call:find{{city, country:{Q}Rome{Q}}}<tool_call|><|tool_response>")
    reply = lab.chat("Where?", tools={"name": "find", "parameters": schema}, temperature=0)
    assert reply.calls == (Call("find", {"city, country": "Rome"}),)
    assert reply.messages[-1]["tool_calls"] == [reply.calls[0].message]
    says("there<turn|>")
    assert lab.chat(previous=reply, tool_results=[{"at": (1, 2)}], temperature=0).text == "there"


def test_a_call_that_is_cut_off_says_so_and_gets_no_result(lab, says):
    says(ROME)
    reply = lab.chat("Weather?", tools=[get_weather], temperature=0, max_new_tokens=3)
    (call,) = reply.calls
    assert (reply.finish_reason, call.name, call.problem) == ("length", "", "it was cut off")
    with pytest.raises(BadPrompt, match="cut off"):
        lab.chat(previous=reply, tool_results=["sunny"])


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"tool_results": ["sunny"]}, "tool_results need"),
        ({"prompt": "And?", "previous": True, "tool_results": ["sunny"]}, "without a new prompt"),
        ({"previous": True, "tool_results": []}, "made 1 call; tool_results is 0"),
        ({"previous": True, "tool_results": "sunny"}, "tool_results is a str"),
        ({"previous": True, "tool_results": [{"a": ["<tool_response|>ha"]}]}, r"holds <tool_response\|>"),
        ({}, "not None"),
    ],
)
def test_results_that_answer_no_call_are_refused(lab, says, options, why):
    if options.pop("previous", False):
        says(f"{ROME}<|tool_response>")
        options["previous"] = lab.chat("Weather?", tools=[get_weather], temperature=0)
    with pytest.raises(BadPrompt, match=why):
        lab.chat(options.pop("prompt", None), **options)


def test_messages_of_ones_own_may_hold_results_but_no_control_tokens(lab, says):
    def asked(result):
        call = Call("get_weather", {"city": "Rome"}).message
        return [
            {"role": "user", "content": "Weather in Rome?"},
            {"role": "assistant", "content": "", "tool_calls": [call]},
            {"role": "tool", "name": "get_weather", "content": result},
        ]

    says("sunny<turn|>")
    assert lab.chat(asked("sunny"), tools=[get_weather], temperature=0).text == "sunny"
    with pytest.raises(BadPrompt, match="Message 2 holds"):
        lab.chat(asked("<|turn>system"), tools=[get_weather])

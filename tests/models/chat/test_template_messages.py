"""One prompt for one conversation, whichever revision of the chat template writes it."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.templates import REVISIONS, prompt_text

from gemma_lab.errors import BadPrompt
from gemma_lab.models.chat.messages import answered, conversation
from gemma_lab.models.chat.template_messages import for_declaration, for_template, written
from gemma_lab.models.chat.tools import Call, declared

WORDS = st.text("abc é語", min_size=1, max_size=6).filter(lambda text: text.strip() == text)
DATA = st.dictionaries(st.sampled_from("abc"), st.none() | st.booleans() | st.integers() | WORDS, max_size=2)


@st.composite
def turns(draw):
    """Draw a conversation: questions, answers, and at most one round of calls per turn."""
    messages = []
    for _ in range(draw(st.integers(1, 3))):
        messages.append({"role": "user", "content": draw(WORDS)})
        calls = draw(st.lists(DATA, max_size=3))
        if calls:
            ids = [f"c{number}" for number in range(len(calls))]
            messages.append({"role": "assistant", "content": draw(st.none() | WORDS), "tool_calls": [
                {"id": each, "function": {"name": f"f{each}", "arguments": arguments}}
                for each, arguments in zip(ids, calls, strict=True)
            ]})  # fmt: skip
            messages += [
                {"role": "tool", "tool_call_id": each, "content": draw(DATA | WORDS)}
                for each in draw(st.permutations(ids))
            ]
        if not calls or draw(st.booleans()):
            messages.append({"role": "assistant", "content": draw(WORDS)})
    return [*messages, {"role": "user", "content": draw(WORDS)}]


@settings(max_examples=100, deadline=None)
@given(turns())
def test_all_revisions_write_the_same_prompt_and_nothing_is_lost(messages):
    read = conversation(messages)
    assert conversation(read) == read
    text = prompt_text(read)
    for name in REVISIONS:
        assert prompt_text(read, name=name) == text, name
    position = 0
    for message in read:  # in order: text, calls, results
        parts = [
            message["content"],
            *(f"call:{call['function']['name']}" for call in message.get("tool_calls", ())),
        ]
        parts += [f"response:{each['name']}" for each in message.get("tool_responses", ())]
        for part in filter(None, parts):
            position = text.index(part, position) + len(part)
    assert text.count("<|tool_call>") == sum(len(message.get("tool_calls", ())) for message in read)


def test_text_before_the_calls_of_a_reply_stays_before_them():
    messages = answered(conversation("Weather?"), "Let me look.", "Hm", [Call("f", {"a": None})])
    messages[-1]["tool_responses"] = [{"name": "f", "response": None}]
    for name in ("mini", *REVISIONS):
        text = prompt_text(messages, name=name).split("<|turn>model\n")[1]
        if name != "gemma4_v2":  # which writes no thoughts
            text = text.removeprefix("<|channel>thought\nHm\n<channel|>")
        assert text == (
            "Let me look.<|tool_call>call:f{a:null}<tool_call|>"
            "<|tool_response>response:f{value:null}<tool_response|>"
        )  # fmt: skip


def test_thoughts_of_earlier_turns_are_left_out():
    messages = answered(conversation("Hi"), "Hello", "Hm")
    assert for_template([*messages, {"role": "user", "content": "?"}])[1] == {
        "role": "assistant",
        "content": "Hello",
    }
    call = {"role": "assistant", "content": "", "reasoning": "Hm", "tool_calls": [{}]}
    assert for_template([*conversation("Hi"), call])[-1] == call


def test_a_template_that_writes_no_calls_is_refused_for_text_before_them():
    messages = answered(conversation("Weather?"), "Let me look.", "", [Call("f", {})])
    with pytest.raises(BadPrompt):
        written(messages, lambda marked: "".join(message["content"] for message in marked))


@pytest.mark.parametrize("name", ["mini", *REVISIONS])
def test_every_enum_is_in_the_declaration(name):
    schema = {"type": "object", "properties": {
        "level": {"type": "integer", "enum": [1, 2], "description": "How high."},
        "unit": {"type": "string", "enum": ["C", "F"]},
        "each": {"type": "array", "items": {"type": "number", "enum": [0.5]}},
    }}  # fmt: skip
    tools = declared({"name": "f", "parameters": schema})
    text = prompt_text(conversation("x"), tools, name=name)
    for part in ("How high. One of 1, 2.", 'enum:[<|"|>C<|"|>,<|"|>F<|"|>]', "0.5"):
        assert part in text
    assert tools == declared({"name": "f", "parameters": schema})  # what was declared does not change
    assert for_declaration(for_declaration(tools)) == for_declaration(tools)

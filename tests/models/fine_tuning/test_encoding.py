"""Examples as ids: the prompt is what `chat` reads, the answer what the model itself writes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from support import templates

from gemma_lab.errors import BadMedia, BadPrompt, ContextFull, LabError
from gemma_lab.evals.questions import load_questions
from gemma_lab.models.chat.prompt import prepare
from gemma_lab.models.chat.tools import calls as parse_calls
from gemma_lab.models.chat.transcript import Record, Transcript
from gemma_lab.models.fine_tuning.encoding import SKIP, ExampleSet, encode
from gemma_lab.models.fine_tuning.examples import read_example
from gemma_lab.models.tokens.vocabulary import Vocabulary

_WEATHER = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "Weather in a city.",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}, "days": {"type": "integer"}},
            "required": ["city"],
        },
    },
}
_CALL = {"name": "weather", "arguments": {"city": "Oslo", "days": 2}}


def _encoded(lab: Any, example: Any) -> list[Any]:
    return [encode(lab, answer) for answer in read_example(lab, example, "Example 0")]


def _read_back(lab: Any, encoded: Any) -> tuple[str, str, str]:
    """Return thoughts, text and calls of an answer as a reply would show them."""
    transcript = Transcript(Vocabulary(lab.tokenizer), encoded.ids[: encoded.prompt_tokens])
    tokens = [
        token
        for index in encoded.ids[encoded.prompt_tokens :]
        for token in transcript.add(index, Record(0.0, 0.0))
    ]
    tokens += transcript.end()
    return tuple("".join(t.text for t in tokens if t.kind == kind) for kind in ("thought", "text", "tool"))


_TEXT = st.text(
    st.characters(exclude_categories=("Cs", "Cc"), exclude_characters="<>"), min_size=1, max_size=24
).filter(lambda text: bool(text.strip()))


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_prompt_ids_are_those_of_chat_and_the_answer_reads_back(moe: Any, data: st.DataObject) -> None:
    prompt, answer = data.draw(_TEXT), data.draw(_TEXT)
    thinking = data.draw(st.one_of(st.just(""), _TEXT))
    options: dict[str, Any] = {}
    if data.draw(st.booleans()):
        options["system"] = data.draw(_TEXT)
    if data.draw(st.booleans()):
        options["tools"] = [_WEATHER]
    calls = [_CALL] if "tools" in options and data.draw(st.booleans()) else []
    example = {"prompt": prompt, "answer": answer, "thinking": thinking, "calls": calls, **options}
    (encoded,) = _encoded(moe, example)
    request = moe.request(prompt, thinking=bool(thinking), temperature=0, **options)
    chat = prepare(moe, request)
    assert list(encoded.ids[: encoded.prompt_tokens]) == chat.ids
    assert encoded.labels[: encoded.prompt_tokens] == [SKIP] * len(chat.ids)
    assert tuple(encoded.labels[encoded.prompt_tokens :]) == encoded.ids[encoded.prompt_tokens :]
    thought, text, called = _read_back(moe, encoded)
    assert (thought, text) == (thinking, answer)
    assert [(call.name, call.arguments) for call in parse_calls(called, [_WEATHER])] == [
        (call["name"], call["arguments"]) for call in calls
    ]
    assert encoded.ids[-1] in moe.model.generation_config.eos_token_id


@pytest.mark.parametrize("name", templates.REVISIONS)
def test_every_revision_of_the_template_gives_the_prompt_of_chat(
    moe: Any, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(moe.processor, "chat_template", templates.template(name))
    monkeypatch.setattr(moe.tokenizer, "chat_template", templates.template(name), raising=False)
    messages = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Weather in Oslo?"},
        {"role": "assistant", "content": "", "tool_calls": [{"type": "function", "function": _CALL}]},
        {"role": "tool", "content": '{"degrees": 3}'},
        {"role": "assistant", "content": "3 degrees."},
        {"role": "user", "content": "Thanks"},
        {"role": "assistant", "reasoning": "polite", "content": "You are welcome."},
    ]
    called, told, polite = _encoded(moe, {"messages": messages, "tools": [_WEATHER]})
    for encoded, count, thinking in ((called, 2, False), (told, 4, False), (polite, 6, True)):
        chat = prepare(moe, moe.request(messages[:count], tools=[_WEATHER], thinking=thinking, temperature=0))
        assert list(encoded.ids[: encoded.prompt_tokens]) == chat.ids
    assert [(c.name, c.arguments) for c in parse_calls(_read_back(moe, called)[2], [_WEATHER])] == [
        ("weather", _CALL["arguments"])
    ]
    assert _read_back(moe, told) == ("", "3 degrees.", "")
    assert _read_back(moe, polite) == ("polite", "You are welcome.", "")


@pytest.mark.parametrize("skill", ["names", "numbers", "thinking", "tools", "records"])
def test_a_reply_is_learned_as_the_very_tokens_that_were_generated(moe: Any, skill: str) -> None:
    question = load_questions(skills=[skill], per_skill=1)[0]
    options = {"tools": question.tools, "thinking": question.thinking, "system": question.system}
    given = {name: value for name, value in options.items() if value}
    reply = moe.chat(question.messages, temperature=0, max_new_tokens=300, **given)
    assert reply.finish_reason == "stop"
    encoded = _encoded(moe, reply)[-1]
    assert list(encoded.ids) == [*prepare(moe, reply.request).ids, *(token.id for token in reply.tokens)]


def test_media_are_encoded_as_chat_does(moe: Any) -> None:
    images = [Image.new("RGB", (96, 64), "red"), Image.new("RGB", (64, 64), "blue")]
    frames = [Image.new("RGB", (64, 64), colour) for colour in ("red", "green")]
    for options in (
        {"images": images},
        {"video": (frames, 2.0)},
        {"images": images[:1], "max_soft_tokens": 70},
    ):
        (encoded,) = _encoded(moe, {"prompt": "What is it?", "answer": "red", **options})
        chat = prepare(moe, moe.request("What is it?", temperature=0, **options))
        assert list(encoded.ids[: encoded.prompt_tokens]) == chat.ids
        for name, value in encoded.inputs.items():
            assert np.array_equal(value.numpy(), chat.inputs[name].numpy()), name
    assert encoded.kinds == {"image"}


def test_images_of_a_data_set_fill_the_open_parts_of_its_messages(moe: Any) -> None:
    red, blue = Image.new("RGB", (64, 64), "red"), Image.new("RGB", (64, 64), "blue")
    content = [{"type": "image"}, {"type": "text", "text": "and"}, {"type": "image"}]
    messages = [{"role": "user", "content": content}, {"role": "assistant", "content": "two"}]
    (encoded,) = _encoded(moe, {"messages": messages, "images": [red, blue]})
    parts = [{"type": "image", "image": red}, content[1], {"type": "image", "image": blue}]
    chat = prepare(moe, moe.request([{"role": "user", "content": parts}], temperature=0))
    assert list(encoded.ids[: encoded.prompt_tokens]) == chat.ids
    assert np.array_equal(encoded.inputs["pixel_values"].numpy(), chat.inputs["pixel_values"].numpy())
    with pytest.raises(LabError, match=r"1 images and 2"):
        _encoded(moe, {"messages": messages, "images": [red]})


def test_raw_prompts_and_whole_texts_end_with_eos(moe: Any) -> None:
    end = moe.tokenizer.eos_token_id
    (pair,) = _encoded(moe, {"prompt": "one two", "answer": " three", "raw": True})
    assert (
        list(pair.ids[: pair.prompt_tokens])
        == prepare(moe, moe.request("one two", raw=True, temperature=0)).ids
    )
    assert pair.ids[-1] == end
    (whole,) = _encoded(moe, "one two three")
    assert whole.prompt_tokens == 1
    assert list(whole.ids) == [
        moe.tokenizer.bos_token_id,
        *moe.tokenizer("one two three")["input_ids"],
        end,
    ]


def test_each_message_of_the_model_is_an_answer_and_a_completion_only_itself(moe: Any) -> None:
    turns = [("user", "a"), ("assistant", "b"), ("user", "c"), ("assistant", "d")]
    messages = [{"role": role, "content": text} for role, text in turns]
    for form in (messages, {"messages": messages}):
        assert [_read_back(moe, encoded)[1] for encoded in _encoded(moe, form)] == ["b", "d"]
    form = {"prompt": messages[:3], "completion": messages[3:]}
    assert [_read_back(moe, encoded)[1] for encoded in _encoded(moe, form)] == ["d"]


@pytest.mark.parametrize(
    ("example", "named"),
    [
        (("only",), "only"),
        (("a", 3), "3"),
        ({"prompt": "a"}, "prompt"),
        ({"prompt": "a", "answer": "b", "label": 1}, "label"),
        ({"prompt": "a", "answer": "b", "response": "c"}, "response"),
        ({"prompt": "a", "answer": ""}, "empty"),
        ({"prompt": "a", "answer": "b", "thinking": True}, "thinking"),
        ({"messages": [{"role": "user", "content": "a"}]}, "user"),
        ({"messages": [{"role": "assistant", "content": "a"}]}, "message 0"),
        ({"messages": "hello"}, "user"),
        ({}, "nothing"),
        ("", "empty"),
        (None, "None"),
        (7, "7"),
        (b"ab", "ab"),
    ],
)
def test_examples_of_unknown_forms_are_refused_by_number(moe: Any, example: Any, named: str) -> None:
    with pytest.raises(LabError) as error:
        ExampleSet(moe, [("fine", "fine"), example])
    assert error.value.what.startswith("Example 1")
    assert named in error.value.what


def test_errors_of_chat_keep_their_type_and_name_the_example(moe: Any, tiny_lab: Any) -> None:
    with pytest.raises(BadPrompt, match="Example 0"):
        ExampleSet(moe, [("a", "b<turn|>c")])
    with pytest.raises(BadMedia, match="Example 0"):
        ExampleSet(moe, [{"prompt": "a", "answer": "b", "audio": (np.zeros(1600, np.float32), 16_000)}])
    with pytest.raises(ContextFull, match="Example 1"):
        ExampleSet(tiny_lab("31B"), [("a", "b"), ("a", "x" * 5000)])


def test_media_that_are_not_kept_are_encoded_again(moe: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    image = Image.new("RGB", (64, 64), "red")
    example = {"prompt": "What?", "answer": "red", "images": [image]}
    kept = ExampleSet(moe, [example])
    monkeypatch.setattr("gemma_lab.models.fine_tuning.encoding._KEPT", 0)
    again = ExampleSet(moe, [example])
    assert kept.examples[0].inputs
    assert not again.examples[0].inputs
    assert again.get(0).ids == kept.get(0).ids
    for name, value in kept.get(0).inputs.items():
        assert np.array_equal(again.get(0).inputs[name].numpy(), value.numpy())

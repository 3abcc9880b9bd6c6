from __future__ import annotations

import dataclasses

import pytest
from support.routing_traces import answered, arabic_trace, hostile_trace, made_trace, picture_trace, words

from gemma_lab.errors import LabError
from gemma_lab.widgets.routing.rerun import ablated, changes, named, request_of, side_by_side

MESSAGES = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "What is it?"}]}]


def answer(text: str):
    return made_trace(answered(words("Which?"), text))


def test_a_request_is_read_back_from_what_the_trace_says() -> None:
    meta = {
        "messages": MESSAGES, "prompt": "<bos><|turn>system\n<|think|>\n", "max_new_tokens": 12, "seed": 5,
        "sampling": {"temperature": 0.7, "top_p": 0.9, "top_k": 40},
    }  # fmt: skip
    trace = picture_trace()
    trace = dataclasses.replace(trace, meta={**trace.meta, **meta})
    request = request_of(trace)
    assert request.pop("prompt")[0]["content"][0] == {"type": "image", "image": trace.images[0]}
    assert request == {
        "thinking": True, "max_new_tokens": 12, "temperature": 0.7, "top_p": 0.9, "top_k": 40, "seed": 5,
    }  # fmt: skip


def test_a_request_that_cannot_be_made_again_says_why() -> None:
    with pytest.raises(LabError, match="does not say what was asked"):
        request_of(arabic_trace())
    trace = picture_trace(keep_image=False, meta={"messages": MESSAGES})
    with pytest.raises(LabError, match=r"had 1 pictures, and the trace holds 0"):
        request_of(trace)
    spoken = [{"role": "user", "content": [{"type": "audio"}]}]
    with pytest.raises(LabError, match="Only text and pictures"):
        request_of(made_trace(words("x"), meta={"messages": spoken}))


def test_answers_are_aligned_and_only_what_changed_is_marked() -> None:
    before, after = answer("one two three four"), answer("one six three four")
    left, right = side_by_side(before, after)
    assert left == [["one", False], [" two", True], [" three four", False]]
    assert right == [["one", False], [" six", True], [" three four", False]]
    assert changes(before, after).startswith("1 of 5 answer tokens changed · ")
    assert (
        changes(before, before)
        == "the answer is the same · 100.0% of the prompt’s expert choices are the same"
    )


def test_hostile_answers_are_sent_as_they_are() -> None:
    left, _ = side_by_side(answer("<b>no</b> \ud800"), answer("x"))
    assert "".join(text for text, _ in left) == "<b>no</b> ?"


def test_a_trace_without_an_answer_compares_its_prompt_alone() -> None:
    assert changes(hostile_trace(), hostile_trace()).startswith("no answer was asked for · 100.0%")
    assert side_by_side(hostile_trace(), hostile_trace()) == ([], [])


def test_experts_are_named_by_layer() -> None:
    off = ablated([[4, 17], [2, 3], [4, 2], [4, 17]])
    assert off == {2: [3], 4: [2, 17]}
    assert named(off) == "expert 3 of layer 2 and experts 2, 17 of layer 4"

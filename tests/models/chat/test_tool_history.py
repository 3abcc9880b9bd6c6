"""Calls and results of other APIs: every result at its call, whatever order they come in."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gemma_lab.errors import BadPrompt
from gemma_lab.models.chat.messages import conversation

USER = {"role": "user", "content": "x"}


def _calls(ids, names):
    calls = [
        {"function": {"name": name, "arguments": "{}"}, **({} if each is None else {"id": each})}
        for each, name in zip(ids, names, strict=True)
    ]
    return {"role": "assistant", "content": None, "tool_calls": calls}


@settings(max_examples=200, deadline=None)
@given(st.data(), st.lists(st.sampled_from("fgh"), min_size=1, max_size=4))
def test_results_with_ids_are_matched_in_any_order(data, names):
    ids = [f"c{number}" for number in range(len(names))]
    order = data.draw(st.permutations(range(len(names))))
    results = [{"role": "tool", "tool_call_id": ids[index], "content": str(index)} for index in order]
    message = conversation([USER, _calls(ids, names), *results])[-1]
    assert message["tool_responses"] == [
        {"name": name, "response": str(index)} for index, name in enumerate(names)
    ]


@settings(max_examples=200, deadline=None)
@given(st.data(), st.lists(st.sampled_from("fgh"), min_size=1, max_size=4))
def test_results_with_names_keep_their_order_within_a_name(data, names):
    order = data.draw(st.permutations(range(len(names))))
    results = [{"role": "tool", "name": names[index], "content": str(index)} for index in order]
    responses = conversation([USER, _calls([None] * len(names), names), *results])[-1]["tool_responses"]
    assert [response["name"] for response in responses] == names
    for name in names:
        given_order = [str(index) for index in order if names[index] == name]
        assert [each["response"] for each in responses if each["name"] == name] == given_order


@settings(max_examples=100, deadline=None)
@given(st.integers(1, 4), st.integers(0, 6))
def test_as_many_results_as_calls_or_none_at_all(calls, results):
    messages = [
        USER,
        _calls([None] * calls, ["f"] * calls),
        *[{"role": "tool", "content": "y"}] * results,
        USER,
    ]
    if results in (0, calls):
        assert len(conversation(messages)[1].get("tool_responses", ())) == results
    else:
        with pytest.raises(BadPrompt):
            conversation(messages)

from __future__ import annotations

from support.routing_traces import answered, hostile_trace, made_trace, words

from gemma_lab.widgets.routing.rerun import ablated, changes, named, side_by_side


def answer(text: str):
    return made_trace(answered(words("Which?"), text))


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
    assert changes(hostile_trace(), hostile_trace()).startswith("no answer was generated · 100.0%")
    assert side_by_side(hostile_trace(), hostile_trace()) == ([], [])


def test_experts_are_named_by_layer() -> None:
    off = ablated([[4, 17], [2, 3], [4, 2], [4, 17]])
    assert off == {2: [3], 4: [2, 17]}
    assert named(off) == "expert 3 of layer 2 and experts 2, 17 of layer 4"

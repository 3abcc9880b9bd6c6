"""Tool calls and JSON with and without a grammar: the grading, the cases, and a few answers of a mini."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest

import gemma_lab as gl
from gemma_lab.errors import ContextFull, LabError
from gemma_lab.evals.bfcl import ToolCallCase, tool_call_cases
from gemma_lab.evals.questions import load_questions
from gemma_lab.evals.statistics import wilson_interval
from gemma_lab.evals.tool_calls import tool_call_accuracy
from gemma_lab.models.chat.tools import Call, declared
from gemma_lab.models.grammar.calls import CallGrammar


def tool(name, required=(), **properties):
    parameters = {"type": "object", "properties": properties, "required": list(required)}
    return {"type": "function", "function": {"name": name, "description": "", "parameters": parameters}}


PLACE = tool(
    "place", ["city"], city={"type": "string"}, days={"type": "integer"}, radius={"type": "number"},
    exact={"type": "boolean"}, tags={"type": "array", "items": {"type": "string"}},
    at={"type": "object", "properties": {"x": {"type": "integer"}, "y": {"type": "integer"}}},
)  # fmt: skip


def case(*calls, tools=(PLACE,)):
    return ToolCallCase("x", "single", "?", tools, calls)


RIGHT = {
    "place": {
        "city": ["New York, NY", "NYC"],
        "days": [3, ""],
        "radius": [2.0, ""],
        "exact": [True, ""],
        "tags": [["a", "b"], ["b", "a"], ""],
        "at": [{"x": [1], "y": [2, ""]}, ""],
    }
}


@pytest.mark.parametrize(
    ("arguments", "fault"),
    [
        ({"city": "NYC"}, ""),
        ({"city": "new york ny"}, ""),
        ({"city": "NYC", "days": 3, "radius": 2, "exact": True, "tags": ["B", "a"], "at": {"x": 1}}, ""),
        ({"city": "NYC", "at": {"x": 1, "y": 2}}, ""),
        ({"city": "Boston"}, "wrong arguments"),
        ({"city": "NYC", "days": 4}, "wrong arguments"),
        ({"city": "NYC", "exact": False}, "wrong arguments"),
        ({"city": "NYC", "tags": ["a"]}, "wrong arguments"),
        ({"city": "NYC", "tags": ["a", "c"]}, "wrong arguments"),
        ({"city": "NYC", "at": {"y": 2}}, "wrong arguments"),
        ({"city": "NYC", "at": {"x": 1, "y": 3}}, "wrong arguments"),
        ({"days": 3}, "call against its declaration"),
        ({"city": "NYC", "days": "3"}, "call against its declaration"),
        ({"city": "NYC", "days": True}, "call against its declaration"),
        ({"city": "NYC", "zip": 1}, "call against its declaration"),
    ],
)
def test_arguments_are_graded_by_their_allowed_values(arguments, fault):
    assert case(RIGHT).fault([Call("place", arguments)]) == fault


def test_parallel_calls_may_come_in_any_order_but_each_once():
    # the first call fits both right calls: only the other pairing works out
    expected = ({"place": {"city": ["Rome", "Oslo"]}}, {"place": {"city": ["Rome"]}})
    rome, oslo = Call("place", {"city": "Rome"}), Call("place", {"city": "Oslo"})
    assert case(*expected).fault([rome, oslo]) == ""
    assert case(*expected).fault([oslo, rome]) == ""
    assert case(*expected).fault([oslo, oslo]) == "wrong arguments"
    assert case(*expected).fault([rome]) == "wrong number of calls"


def test_what_should_not_be_called():
    assert case().fault([]) == ""
    assert case().fault([Call("place", {"city": "Rome"})]) == "a call"
    assert case().fault([Call("", problem="it was cut off")]) == "a call"
    assert case(RIGHT).fault([]) == "no call"
    assert case(RIGHT).fault([Call("", problem="it was cut off")]) == "unreadable call"
    other = tool("other", [])
    assert case(RIGHT, tools=(PLACE, other)).fault([Call("other", {})]) == "wrong function"


def first_right(calls):
    """The calls with the first allowed value of every argument, those left out that may be."""
    return [
        Call(name, {key: values[0] for key, values in arguments.items() if "" not in values})
        for right in calls
        for name, arguments in right.items()
    ]


@pytest.mark.parametrize("each", tool_call_cases(), ids=lambda each: each.id)
def test_every_case_can_be_declared_and_answered(each):
    assert len(declared(each.tools)) == len(each.tools)
    assert "call_0" in CallGrammar(lambda name: "<[1]>").rules(declared(each.tools))
    calls = first_right(each.calls)
    assert each.fault(calls) == ""
    assert each.fault(calls[::-1]) == ""
    assert each.fault([*calls, *calls] if calls else [Call(each.tools[0]["function"]["name"])]) != ""


def test_kinds_are_chosen():
    assert [each.kind for each in tool_call_cases(per_kind=1)] == [
        "single",
        "multiple",
        "parallel",
        "irrelevance",
    ]
    assert {each.kind for each in tool_call_cases(kinds=["parallel"])} == {"parallel"}
    with pytest.raises(LabError, match="double"):
        tool_call_cases(kinds=["double"])


class Pupil:
    """Answers right with a grammar; without one it calls nothing, or writes JSON with a key too many."""

    name = "<b>pupil"
    finish_reason = "stop"

    def __init__(self, cases, full=()):
        self.cases, self.full, self.asked = cases, full, []

    def chat(self, prompt, *, tools=(), tool_choice=None, schema=None, **_):
        text = prompt if isinstance(prompt, str) else prompt[0]["content"]
        self.asked.append((text, tool_choice, schema))
        if text in self.full:
            raise ContextFull("The tools need 9 tokens.", hint="Fewer tools.")
        each = next(one for one in self.cases if one.prompt == text)
        bound = tool_choice == "auto" or schema is not None
        overruled = SimpleNamespace(overruled=SimpleNamespace(changed=True) if bound else None)
        if isinstance(each, ToolCallCase):
            calls = tuple(first_right(each.calls)) if bound else ()
            return SimpleNamespace(
                text="", calls=calls, tokens=(overruled,), finish_reason=self.finish_reason
            )
        value = json.loads(each.answer) | ({} if bound else {"extra": 1})
        text = json.dumps(value)
        return SimpleNamespace(text=text, calls=(), tokens=(overruled,), finish_reason=self.finish_reason)


def test_both_conditions_are_counted_and_paired():
    cases = [*tool_call_cases(per_kind=2), *load_questions(skills=["records"], per_skill=2)]
    pupil = Pupil(cases, full=[cases[0].prompt])
    found = tool_call_accuracy(pupil, cases, progress=False)
    assert found.conditions == (False, True)
    # one single case does not fit; without a grammar only the two irrelevance cases are right
    free, bound = (
        {score.name: (score.right, score.asked) for score in found.scores(grammar=g)} for g in (False, True)
    )
    assert free == {
        "single": (0, 1),
        "multiple": (0, 2),
        "parallel": (0, 2),
        "irrelevance": (2, 2),
        "records": (0, 2),
        "all": (2, 9),
    }
    assert bound == {name: (asked, asked) for name, (_, asked) in free.items()}
    assert (found.paired.both, found.paired.first, found.paired.second, found.paired.neither) == (2, 0, 7, 0)
    assert found.not_asked == {cases[0].id: "The tools need 9 tokens."}
    frame = found.to_pandas()
    assert frame.groupby("grammar")["overruled"].sum().to_dict() == {False: 0, True: 9}
    assert (
        frame[~frame["grammar"] & (frame["kind"] == "records")]["fault"].tolist()
        == ["JSON against its schema"] * 2
    )
    assert frame[~frame["grammar"]]["valid"].tolist().count(False) == 2
    assert found.scores(grammar=True)[0].interval == wilson_interval(1, 1)
    html = found._repr_html_()
    assert "<b>" not in html
    assert "2 of 9" in html
    assert "9 of 9" in html
    assert "2/9 without grammar, 9/9 with grammar" in found.figure().text


def test_a_wrong_answer_at_the_limit_was_cut_off():
    cases = [*tool_call_cases(kinds=["single"], per_kind=1), *load_questions(skills=["records"], per_skill=1)]
    pupil = Pupil(cases)
    pupil.finish_reason = "length"
    found = tool_call_accuracy(pupil, cases, progress=False)
    assert [answer.fault for answer in found.answers if not answer.grammar] == ["cut off"] * 2
    assert [answer.fault for answer in found.answers if answer.grammar] == ["", ""]


def test_one_condition_alone():
    cases = tool_call_cases(kinds=["irrelevance"], per_kind=2)
    pupil = Pupil(cases)
    found = tool_call_accuracy(pupil, cases, grammar=False, progress=False)
    assert {choice for _, choice, _ in pupil.asked} == {None}
    assert found.conditions == (False,)
    assert found._repr_html_()
    assert found.figure().text
    with pytest.raises(LabError, match="both"):
        _ = found.paired


def test_a_question_without_tools_or_schema_is_refused_before_anything_runs():
    cases = [*tool_call_cases(per_kind=1), *load_questions(skills=["names"], per_skill=1)]
    pupil = Pupil(cases)
    with pytest.raises(LabError, match="names"):
        tool_call_accuracy(pupil, cases, progress=False)
    assert pupil.asked == []


def test_nothing_asked_is_an_empty_result():
    empty = tool_call_accuracy(Pupil([]), [], progress=False)
    assert empty.conditions == ()
    assert "no answers" in repr(empty)
    assert empty._repr_html_()
    assert empty.figure().text
    assert empty.to_pandas().empty


def test_a_mini_answers_validly_with_a_grammar():
    lab = gl.load("mini-moe", progress=False)
    cases = [
        *load_questions(skills=["tools"], per_skill=3),
        *load_questions(skills=["records"], per_skill=1),
        tool_call_cases(kinds=["single"], per_kind=1)[0],
    ]
    found = tool_call_accuracy(lab, cases, grammar=True, max_new_tokens=96, progress=False)
    assert len(found.answers) + len(found.not_asked) == 5
    of_checkup = [answer for answer in found.answers if answer.kind in ("tools", "records")]
    assert len(of_checkup) == 4
    assert all(answer.valid for answer in of_checkup)
    assert sum(answer.right for answer in of_checkup) >= 3

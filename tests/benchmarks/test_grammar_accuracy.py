"""Tool calls and JSON of both minis with a grammar, beside the same questions without: accuracy, paired."""

from __future__ import annotations

import pytest

import gemma_lab as gl

PER_SKILL = 100
TARGETS = {"tools": "≥ 95", "records": "≥ 98"}


@pytest.mark.parametrize("name", ["mini-moe", "mini-edge"])
def test_accuracy_with_and_without_a_grammar(name, record):
    own = gl.evals.load_questions(skills=["tools", "records"], per_skill=PER_SKILL)
    lab = gl.load(name, progress=False)
    for kind, cases in (
        ("tools", [question for question in own if question.skill == "tools"]),
        ("records", [question for question in own if question.skill == "records"]),
        ("BFCL v4", gl.evals.tool_call_cases()),
    ):
        found = gl.evals.tool_call_accuracy(lab, cases, progress=False)
        [free, bound] = [found.scores(grammar=grammar)[-1] for grammar in (False, True)]
        low, high = (100 * bound_ for bound_ in bound.interval)
        record(
            "grammar-accuracy", 100 * bound.accuracy, TARGETS.get(kind, ""), "%",
            f"of {bound.asked}, 95 % interval {low:.0f} to {high:.0f} %; {found.summary()}",
            case=f"{name}, {kind}", rivals={"without": f"{100 * free.accuracy:.0f} %"},
        )  # fmt: skip
        valid = [answer for answer in found.answers if answer.grammar and answer.fault != "cut off"]
        assert all(answer.valid for answer in valid), "a complete answer that is not valid"

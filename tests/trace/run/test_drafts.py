"""A trace of a model with a drafter notes what was drafted, and is otherwise the trace without it."""

from __future__ import annotations

import numpy as np
import pytest
from support.drafters import scripted

import gemma_lab as gl
from gemma_lab.trace.records.drafts import drafted_tokens
from gemma_lab.widgets.shared.draws import draw_arrays

PROMPT = "Write 47 in German words."


@pytest.fixture
def drafted_mini():
    mini = gl.load("mini-moe", dtype="float32", progress=False)
    plain = mini.chat(PROMPT, temperature=0)
    traced = mini.trace(PROMPT, max_new_tokens=64)
    mini.drafter = scripted(mini, plain, wrong=2)
    return mini, traced


def test_the_outcomes_are_those_of_the_reply(drafted_mini, tmp_path):
    mini, plain = drafted_mini
    trace = mini.trace(PROMPT, max_new_tokens=64)
    reply = mini.chat(PROMPT, temperature=0, max_new_tokens=64)
    wanted = [token.drafted for token in reply.tokens]
    assert wanted == [None, False, True]
    assert trace.meta["drafter"]["drafted"] == wanted
    assert trace.generation == plain.generation
    np.testing.assert_array_equal(trace.routing.ids, plain.routing.ids)
    again = gl.open_trace(trace.save(tmp_path / "a.trace"))
    assert drafted_tokens(again.meta, len(again.generation)) == wanted
    codes = draw_arrays(again)["drafted"].tolist()
    assert codes == [0 if one is None else 1 + one for one in wanted[: len(codes)]]


def test_without_a_drafter_nothing_is_noted(drafted_mini):
    _, plain = drafted_mini
    assert "drafter" not in plain.meta
    assert set(draw_arrays(plain)["drafted"].tolist()) == {0}


def test_sampled_answers_need_a_seed(drafted_mini):
    mini, _ = drafted_mini
    options = {"max_new_tokens": 6, "temperature": 1.0}
    noted = mini.trace(PROMPT, seed=3, **options).meta["drafter"]["drafted"]
    assert len(noted) <= 6
    mini.drafter = None
    assert "drafter" not in mini.trace(PROMPT, seed=3, **options).meta


def test_a_prompt_alone_has_no_drafts(drafted_mini):
    mini, _ = drafted_mini
    assert "drafter" not in mini.trace(PROMPT).meta


@pytest.mark.parametrize(
    "meta",
    [None, [], {}, {"drafter": 3}, {"drafter": {"drafted": "yes"}}, {"drafter": {"drafted": [True]}},
     {"drafter": {"drafted": [1, None]}}, {"drafter": {"drafted": ["<b>", None]}}],
)  # fmt: skip
def test_what_does_not_fit_is_left_out(meta):
    assert drafted_tokens(meta, 2) is None

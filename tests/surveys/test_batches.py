"""Batched tracing gives every prompt the trace that it has alone, up to rounding."""

from __future__ import annotations

import numpy as np
import pytest

import gemma_lab as gl
from gemma_lab.errors import BadPrompt, LabError
from gemma_lab.surveys.run import survey
from gemma_lab.trace.run.batch import trace_batch

PROMPTS = ["Write 47 in German words.", "Hello", "Which is larger, 12 or 21? " * 30, "Who is Yuki?"]
STEP = 1 / 65_535  # of a stored gate weight


@pytest.fixture(scope="module")
def mini():
    return gl.load("mini-moe", dtype="float32")


def test_each_prompt_of_a_batch_is_traced_as_alone(mini):
    requests = [mini.request(prompt, max_new_tokens=0, temperature=0) for prompt in PROMPTS]
    for prompt, trace in zip(PROMPTS, trace_batch(mini, requests, attention=True), strict=True):
        alone = mini.trace(prompt, attention=True)
        assert list(trace.tokens.ids) == list(alone.tokens.ids)
        np.testing.assert_array_equal(trace.routing.ids, alone.routing.ids)
        np.testing.assert_allclose(
            trace.routing.gate_weights, alone.routing.gate_weights, rtol=0, atol=1.01 * STEP
        )
        for layout in alone.attention.layers:
            masses = (each.attention.first_token_mass(layout.layer) for each in (trace, alone))
            np.testing.assert_allclose(*masses, rtol=0, atol=1e-3)  # stored in float16
        assert trace.meta["batch"]["padded_to"] == max(len(one.tokens) for one in map(mini.trace, PROMPTS))
        assert {**trace.meta, "batch": 0} == {**alone.meta, "batch": 0, "prefill": trace.meta["prefill"]}


def test_an_edit_holds_in_a_batch(mini):
    requests = [mini.request(prompt, max_new_tokens=0, temperature=0) for prompt in PROMPTS[:2]]
    with mini.edit(ablate_experts={0: [17]}):
        traces = trace_batch(mini, requests)
    assert all(17 not in trace.routing.ids[0] for trace in traces)
    assert all(trace.meta["edit"] for trace in traces)


def test_what_cannot_be_batched_is_refused(mini):
    with pytest.raises(BadPrompt, match="Prompt 1"):
        trace_batch(mini, [mini.request("a", max_new_tokens=0), mini.request("b", max_new_tokens=3)])
    with pytest.raises(LabError, match="str"):
        trace_batch(mini, [mini.request("a", max_new_tokens=0)], attention="yes")
    assert trace_batch(mini, []) == []


def test_a_survey_in_batches_has_the_same_loads_and_rows(mini, tmp_path):
    rows = [{"prompt": prompt, "kind": str(n % 2)} for n, prompt in enumerate([*PROMPTS, "", "Bye"])]
    rows.append({"prompt": "What?", "images": [b"no picture"], "kind": "0"})
    surveys = [
        survey(rows, mini, out=tmp_path / str(size), partition_size=5, batch_size=size, progress=False)
        for size in (1, 3)
    ]
    one, three = (done.prompts().drop(columns=["mean_logprob"]) for done in surveys)
    assert one["error"].notna().tolist() == three["error"].notna().tolist()
    assert one["prompt_tokens"].equals(three["prompt_tokens"])
    np.testing.assert_array_equal(surveys[0].summary.counts, surveys[1].summary.counts)
    assert surveys[1].summary.by_label.keys() == surveys[0].summary.by_label.keys()
    with pytest.raises(LabError, match="batch_size"):
        survey(rows, mini, out=tmp_path / "1", partition_size=5, batch_size=2, progress=False)

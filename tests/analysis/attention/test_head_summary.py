"""Sums over traces equal what the analyses of single traces say, and add up."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from support.attention_traces import arabic, behind
from support.forged_heads import build_attention, looking, trace_of
from support.routing_traces import arabic_trace, picture_trace

from gemma_lab.analysis.attention.head_summary import HeadSummary, head_summary
from gemma_lab.analysis.attention.head_types import classify_heads
from gemma_lab.analysis.attention.prefix_matching import followers
from gemma_lab.analysis.attention.sinks import attention_sinks
from gemma_lab.errors import LabError

ALIKE = ("previous token", "first token", "local", "picture reading")


@pytest.fixture(scope="module")
def traces():
    return [arabic(), behind(arabic_trace(seed=1), top_k=39), behind(picture_trace(), top_k=39)]


@pytest.mark.parametrize("number", range(3))
def test_of_one_trace_it_is_the_classification_of_its_heads(traces, number):
    trace = traces[number]
    found, wanted = head_summary(trace).types(), classify_heads(trace)
    assert found.heads == wanted.heads
    for kind in ALIKE:
        np.testing.assert_allclose(found.scores[kind], wanted.scores[kind], atol=1e-9, err_msg=kind)
        np.testing.assert_allclose(found.chance[kind], wanted.chance[kind], atol=1e-9, err_msg=kind)
        assert found.passed[kind].tolist() == wanted.passed[kind].tolist()


def test_means_are_those_of_all_rows(traces):
    total = head_summary(traces)
    assert (total.prompts, total.tokens) == (3, sum(len(trace.tokens) for trace in traces))
    for row, layout in enumerate(traces[0].attention.layers):
        rows = [trace.attention.entropy(layout.layer) for trace in traces]
        np.testing.assert_allclose(total.mean("entropy")[row], np.concatenate(rows, 1).mean(1), rtol=1e-5)
        rows = [trace.attention.distance(layout.layer) for trace in traces]
        np.testing.assert_allclose(total.mean("distance")[row], np.concatenate(rows, 1).mean(1), rtol=1e-5)


def test_sinks_are_those_of_the_analysis(traces):
    summary, sinks = head_summary(traces[0]), attention_sinks(traces[0])
    has = (sinks.received >= 0.3).any(axis=1).reshape(summary.sink_share.shape)
    np.testing.assert_array_equal(summary.sink_share, has.astype(float))
    assert (summary.mean("sink")[has] > 0).all()
    assert (summary.mean("sink") <= 1).all()


def test_adding_is_summarising_together_in_any_order(traces):
    one, two, three = map(head_summary, traces)
    together = head_summary(traces)
    for other in ((one + two) + three, three + (two + one)):
        for field in dataclasses.fields(HeadSummary):
            mine, theirs = getattr(together, field.name), getattr(other, field.name)
            if isinstance(mine, np.ndarray):
                np.testing.assert_allclose(mine, theirs, rtol=1e-12)
            else:
                assert mine == theirs


def test_induction_is_tested_over_prompts():
    """Of two heads, one attends by content and one at a fixed distance: only the first passes."""
    made = []
    for seed in range(10):
        random = np.random.default_rng(seed)
        blocks = [random.permutation(1000)[:8] for _ in range(8)]
        ids = np.concatenate([blocks[n] for n in (*range(8), *random.permutation(8))])
        wanted = followers(ids)[:, 0]
        heads = looking(len(ids), wanted, share=0.6), looking(len(ids), np.arange(len(ids)) - 63)
        made.append(trace_of(build_attention([list(heads)]), ids=ids))
    found = head_summary(made).types()
    assert found.of("induction") == ((0, 0),)
    assert found.scores["induction"][0] == pytest.approx(0.6, abs=0.05)
    assert "7 prompts" in head_summary(made[:7]).types().untested["induction"]


def test_a_saved_summary_is_the_same(traces, tmp_path):
    summary = head_summary(traces)
    summary.save(tmp_path / "a")
    HeadSummary.load(tmp_path / "a").save(tmp_path / "b")
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_what_was_not_recorded_is_unknown(traces):
    bare = dataclasses.replace(traces[0], attention=dataclasses.replace(traces[0].attention, per_query={}))
    summary = head_summary(bare)
    assert np.isnan(summary.mean("entropy")).all()
    assert np.isnan(summary.sink_share).all()
    assert len(summary.types().untested) == 7
    assert len(summary.to_pandas()) == len(summary.layers) * len(summary.heads)


def test_even_attention_is_one(traces):
    """Rows that are equal on all visible keys have the entropy and distance that even attention has."""
    trace = traces[0]
    count, attention = len(trace.tokens), trace.attention
    back = np.arange(count)[:, None] - np.arange(count)[None]
    numbers = {name: np.array(attention.per_query[name], np.float64) for name in ("entropy", "distance")}
    for row, layout in enumerate(attention.layers):
        seen = (back >= 0) & (back < (layout.window or count))
        weights = seen / seen.sum(1, keepdims=True)
        numbers["entropy"][row] = -(weights * np.log(np.where(seen, weights, 1))).sum(1)[:, None]
        numbers["distance"][row] = (weights * back).sum(1)[:, None]
    even = dataclasses.replace(attention, per_query={**attention.per_query, **numbers})
    summary = head_summary(dataclasses.replace(trace, attention=even))
    for name in ("entropy", "distance"):
        np.testing.assert_allclose(summary.mean(name), summary.mean_if_even(name), rtol=1e-6)


def test_errors(traces):
    with pytest.raises(LabError, match="no trace"):
        head_summary([])
    with pytest.raises(LabError, match="attention"):
        head_summary(arabic_trace())
    with pytest.raises(LabError, match="colour"):
        head_summary(traces[0]).mean("colour")
    summary = head_summary(traces[0])
    with pytest.raises(LabError, match="layers"):
        _ = summary + dataclasses.replace(summary, layers=summary.layers[:-1])

"""Cache curves against plain simulators at every size, and Belady's bound against every possible choice."""

from __future__ import annotations

from collections import Counter, OrderedDict
from functools import cache

import numpy as np
import pytest

from gemma_lab.analysis.experts.cache import CACHE_POLICIES, expert_cache_curve
from gemma_lab.errors import LabError


def lru(requests, size):
    held, hits = OrderedDict(), 0
    for expert in requests:
        if expert in held:
            hits += 1
            held.move_to_end(expert)
            continue
        if len(held) == size:
            held.popitem(last=False)
        held[expert] = None
    return hits


def lfu(requests, size):
    held, uses, last, hits = set(), Counter(), {}, 0
    for time, expert in enumerate(requests):
        uses[expert] += 1
        hits += expert in held
        if expert not in held and len(held) == size:
            held.remove(min(held, key=lambda other: (uses[other], last[other])))
        held.add(expert)
        last[expert] = time
    return hits


def pinned(requests, size):
    kept = {
        expert for expert, _ in sorted(Counter(requests).items(), key=lambda one: (-one[1], one[0]))[:size]
    }
    seen, hits = set(), 0
    for expert in requests:
        hits += expert in kept and expert in seen
        seen.add(expert)
    return hits


def belady(requests, size):
    """The best that any choice of what to keep can reach: every choice is tried."""

    @cache
    def best(time, held):
        if time == len(requests):
            return 0
        expert = requests[time]
        if expert in held:
            return 1 + best(time + 1, held)
        with_it = held | {expert}
        if len(with_it) <= size:
            return best(time + 1, with_it)
        return max(best(time + 1, with_it - {gone}) for gone in with_it)

    return best(0, frozenset())


SIMULATORS = {"lru": lru, "lfu": lfu, "pinned": pinned}


def requests_of(routing, *, shared):
    """What a decoder asks for, written as loops."""
    layers, tokens, _ = routing.ids.shape
    if not shared:
        return [[int(e) for t in range(tokens) for e in routing.ids[row, t]] for row in range(layers)]
    numbered = [
        row * routing.experts + int(e)
        for t in range(tokens)
        for row in range(layers)
        for e in routing.ids[row, t]
    ]
    return [numbered]


@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("policy", SIMULATORS)
@pytest.mark.parametrize("drift", [0.0, 0.4])
def test_every_size_has_the_hits_of_its_simulation(draw, policy, shared, drift):
    routing = draw(rows=3, tokens=40, k=3, experts=9, drift=drift)
    curve = expert_cache_curve(routing, policies=[policy], shared=shared)
    expected = [
        [SIMULATORS[policy](requests, size) for size in curve.sizes]
        for requests in requests_of(routing, shared=shared)
    ]
    np.testing.assert_array_equal(curve.hits[policy], expected)


@pytest.mark.parametrize("seed", range(8))
def test_belady_is_the_best_of_all_choices(draw, seed):
    routing = draw(seed, rows=2, tokens=7, k=2, experts=5)
    curve = expert_cache_curve(routing, policies=["belady"])
    expected = [
        [belady(tuple(requests), size) for size in curve.sizes]
        for requests in requests_of(routing, shared=False)
    ]
    np.testing.assert_array_equal(curve.hits["belady"], expected)


@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("seed", range(5))
def test_no_policy_beats_belady_and_none_serves_first_uses(draw, seed, shared):
    curve = expert_cache_curve(draw(seed, rows=4, tokens=120, drift=0.1 * seed), shared=shared)
    for policy in CACHE_POLICIES:
        assert (curve.hits["belady"] >= curve.hits[policy]).all(), policy
        assert (np.diff(curve.hits[policy], axis=1) >= 0).all(), policy
        everything = curve.hits[policy][:, -1].sum()
        assert everything == curve.requests - curve.first_uses.sum(), policy


def test_wide_steps_are_counted_as_narrow_ones(draw, monkeypatch):
    routing = draw(rows=4, tokens=60, drift=0.2)
    narrow = expert_cache_curve(routing, policies=["lru"], shared=True)
    monkeypatch.setattr("gemma_lab.analysis.experts.stack_distance._WIDE", 0)
    wide = expert_cache_curve(routing, policies=["lru"], shared=True)
    np.testing.assert_array_equal(narrow.hits["lru"], wide.hits["lru"])


def test_long_traces_are_counted_in_parts(draw, monkeypatch):
    routing = draw(tokens=300, drift=0.2)
    whole = expert_cache_curve(routing, policies=["lru"])
    monkeypatch.setattr("gemma_lab.analysis.experts.stack_distance._CELLS", 1_000)
    parts = expert_cache_curve(routing, policies=["lru"])
    np.testing.assert_array_equal(whole.hits["lru"], parts.hits["lru"])


def test_pinning_by_another_trace_cannot_beat_hindsight(draw):
    here, there = draw(1, drift=0.2), draw(2, drift=0.2)
    hindsight = expert_cache_curve(here, policies=["pinned"])
    foresight = expert_cache_curve(here, policies=["pinned"], profile=there)
    assert (foresight.hits["pinned"] <= hindsight.hits["pinned"] + curve_slack(hindsight)).all()
    assert foresight.profile == "another trace"
    assert foresight.hits["pinned"].sum() < hindsight.hits["pinned"].sum()


def curve_slack(curve):
    """Hindsight pins by uses, of which the first is a miss: it may lose one hit a pinned expert."""
    return curve.sizes


def test_several_traces_are_replayed_one_after_the_other(draw, routing_of):
    one, two = draw(1), draw(2)
    both = routing_of(np.concatenate([one.ids, two.ids], axis=1), experts=32)
    np.testing.assert_array_equal(
        expert_cache_curve([one, two], policies=["lru"]).hits["lru"],
        expert_cache_curve(both, policies=["lru"]).hits["lru"],
    )


def test_rates_sizes_and_repr(draw):
    curve = expert_cache_curve(draw())
    np.testing.assert_allclose(curve.by_layer("lru").mean(axis=0), curve.hit_rate("lru"))
    size = curve.size_for(0.5)
    assert curve.hit_rate()[size - 1] >= 0.5 > curve.hit_rate()[size - 2]
    assert curve.size_for(1.0) is None
    assert list(curve.to_pandas().columns) == ["size", "share", "lru", "lfu", "pinned", "belady"]
    assert repr(curve).startswith(
        "ExpertCacheCurve(2 caches, one per layer, 200 tokens, top-4 of 32 experts; with 16 of 32 "
    )


def test_unknown_policies_are_refused(draw):
    with pytest.raises(LabError, match=r"\['fifo'\]"):
        expert_cache_curve(draw(), policies=["fifo"])
    with pytest.raises(LabError, match="'lfu' was not replayed"):
        expert_cache_curve(draw(), policies=["lru"]).hit_rate("lfu")

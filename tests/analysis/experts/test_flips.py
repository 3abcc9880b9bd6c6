"""Routing flips equal what counting sets of experts token by token gives."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gemma_lab.analysis.experts.flips import RoutingFlips, routing_flips
from gemma_lab.errors import LabError
from gemma_lab.trace.records.routing import Routing


def routing(seed: int, *, tokens: int = 12, experts: int = 16, k: int = 4, layers=(1, 4)) -> Routing:
    random = np.random.default_rng(seed)
    ids = np.stack([[random.permutation(experts)[:k] for _ in range(tokens)] for _ in layers])
    weights = -np.sort(-random.dirichlet(np.ones(k), size=(len(layers), tokens)), axis=-1)
    shape = (len(layers), tokens)
    return Routing.of(
        ids, weights, scale=np.ones((len(layers), experts)), entropy=np.ones(shape),
        expert_output_fraction=np.full(shape, 0.5), layers=layers, experts=experts, precision="full",
    )  # fmt: skip


def by_hand(one: Routing, two: Routing, layer: int, a: int, b: int) -> tuple[float, float]:
    first, second = (
        dict(zip(part.ids[layer, token].tolist(), part.gate_weights[layer, token].tolist(), strict=True))
        for part, token in ((one, a), (two, b))
    )
    sums = sum(first.values()), sum(second.values())
    moved = sum(
        abs(first.get(e, 0) / sums[0] - second.get(e, 0) / sums[1]) for e in first.keys() | second.keys()
    )
    return 1 - len(first.keys() & second.keys()) / one.top_k, moved / 2


@given(st.integers(0, 10_000), st.integers(0, 10_000), st.integers(1, 16))
def test_flips_are_counted_slot_by_slot(seed, other, k):
    one, two = (routing(each, tokens=5, k=k) for each in (seed, other))
    found = routing_flips(one, two)
    for layer in range(2):
        for token in range(5):
            flipped, moved = by_hand(one, two, layer, token, token)
            assert found.flipped[layer, token] == pytest.approx(flipped)
            assert found.weight[layer, token] == pytest.approx(moved, abs=1e-6)


def test_chance_pairs_every_token_with_every_other():
    one, two = routing(1), routing(2)
    found = routing_flips(one, two)
    for layer in range(2):
        pairs = [by_hand(one, two, layer, a, b)[0] for a in range(12) for b in range(12) if a != b]
        assert found.chance[layer] == pytest.approx(np.mean(pairs))
        moved = [by_hand(one, two, layer, a, (a + shift) % 12)[1] for shift in range(1, 9) for a in range(12)]
        assert found.chance_weight[layer] == pytest.approx(np.mean(moved), abs=1e-6)


def test_a_run_has_no_flips_against_itself():
    one = routing(3)
    found = routing_flips(one, one)
    assert (found.flipped == 0).all()
    assert (found.weight == 0).all()
    assert found.mean == 0
    assert "0.0%" in repr(found)


def test_several_runs_are_joined():
    parts = [(routing(seed), routing(seed + 10)) for seed in range(3)]
    found = routing_flips([a for a, _ in parts], [b for _, b in parts])
    apart = [routing_flips(a, b) for a, b in parts]
    np.testing.assert_array_equal(found.flipped, np.concatenate([each.flipped for each in apart], axis=1))
    np.testing.assert_array_equal(found.select(slice(12, 24)).weight, apart[1].weight)
    assert len(found) == 36
    assert list(found.to_pandas().columns) == ["layer", "flipped", "weight", "chance", "chance_weight"]


def test_one_token_has_no_chance_level():
    found = routing_flips(routing(1, tokens=1), routing(2, tokens=1))
    assert np.isnan(found.chance).all()
    assert np.isnan(found.chance_weight).all()
    assert isinstance(found, RoutingFlips)


@pytest.mark.parametrize(
    "other", [None, "routing", routing(1, tokens=3), routing(1, experts=32), routing(1, layers=(1, 5)), []]
)
def test_what_cannot_be_compared_is_refused(other):
    with pytest.raises(LabError):
        routing_flips(routing(1), other)

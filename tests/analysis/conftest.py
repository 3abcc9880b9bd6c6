"""Routings made by hand or drawn at random, without a model."""

from __future__ import annotations

import numpy as np
import pytest

from gemma_lab.trace.records.routing import Routing


def routing(ids, *, experts, layers=None, gate_weights=None) -> Routing:
    """A routing with these ids ``[L, T, k]``; equal shares unless given."""
    ids = np.asarray(ids)
    rows, tokens, k = ids.shape
    return Routing.of(
        ids,
        np.full(ids.shape, 1 / k, dtype=np.float32) if gate_weights is None else gate_weights,
        scale=np.ones((rows, experts), dtype=np.float32),
        entropy=np.full((rows, tokens), 1.5, dtype=np.float32),
        expert_output_fraction=np.full((rows, tokens), 0.5, dtype=np.float32),
        layers=tuple(range(rows)) if layers is None else layers,
        experts=experts,
        precision="full",
    )


def drawn(seed=0, *, rows=2, tokens=200, k=4, experts=32, taste=1.0, drift=0.0, layers=None) -> Routing:
    """A routing drawn from fixed tastes for experts, and with `drift` from tastes that wander."""
    random = np.random.default_rng(seed)
    taste = np.random.default_rng(99).normal(size=(rows, 1, experts)) * taste
    wander = np.cumsum(random.normal(size=(rows, tokens, experts)), axis=1) * drift
    score = taste + wander + random.gumbel(size=(rows, tokens, experts))
    return routing(np.argsort(-score, axis=2)[:, :, :k], experts=experts, layers=layers)


@pytest.fixture
def routing_of():
    return routing


@pytest.fixture
def draw():
    return drawn

"""How much faster the LRU hits of every cache size come from one pass than from a loop over the sizes.

The rival is the usual simulator, an ``OrderedDict`` a cache, run once a size. Both count the same trace in
the same run, and must count the same hits.
"""

from __future__ import annotations

import time
from collections import OrderedDict

import numpy as np

from gemma_lab.analysis.experts.cache import expert_cache_curve
from gemma_lab.trace.records.routing import Routing

TARGET = 20
LAYERS, TOKENS, TOP_K, EXPERTS = 30, 1_000, 8, 128  # the shape of the 26B-A4B
ROUNDS = 3


def test_every_size_in_one_pass(capsys, record):
    routing = _routing()
    requests = [layer.ravel().tolist() for layer in np.asarray(routing.ids)]
    started = time.perf_counter()
    looped = [[_simulate(layer, size) for size in range(1, EXPERTS + 1)] for layer in requests]
    loop = time.perf_counter() - started
    once = []
    for _ in range(ROUNDS):
        started = time.perf_counter()
        curve = expert_cache_curve(routing, policies=["lru"])
        once.append(time.perf_counter() - started)
    np.testing.assert_array_equal(curve.hits["lru"], looped)
    ratio = loop / sorted(once)[ROUNDS // 2]
    with capsys.disabled():
        print(
            f"\nLRU hits of {EXPERTS} sizes × {LAYERS} layers, {TOKENS:,} tokens: loop {loop:.2f} s, "
            f"one pass {sorted(once)[ROUNDS // 2]:.3f} s: {ratio:.0f} × faster"
        )
    note = "hits identical; beside a loop over OrderedDict simulators"
    record("lru-curve", ratio, f"≥ {TARGET}", "× faster", note, case=f"{EXPERTS} sizes, {TOKENS:,} tokens")
    assert ratio >= TARGET


def _simulate(requests: list[int], size: int) -> int:
    held: OrderedDict[int, None] = OrderedDict()
    hits = 0
    for expert in requests:
        if expert in held:
            hits += 1
            held.move_to_end(expert)
        else:
            if len(held) == size:
                held.popitem(last=False)
            held[expert] = None
    return hits


def _routing() -> Routing:
    """A trace with tastes that wander, so that hits are neither all nor none."""
    random = np.random.default_rng(0)
    ids = np.empty((LAYERS, TOKENS, TOP_K), dtype=np.int64)
    for layer in range(LAYERS):
        taste = random.normal(size=EXPERTS) + np.cumsum(random.normal(size=(TOKENS, EXPERTS)), axis=0) * 0.1
        ids[layer] = np.argsort(-(taste + random.gumbel(size=taste.shape)), axis=1)[:, :TOP_K]
    return Routing.of(
        ids,
        np.full(ids.shape, 1 / TOP_K, dtype=np.float32),
        scale=np.ones((LAYERS, EXPERTS), dtype=np.float32),
        entropy=np.zeros(ids.shape[:2], dtype=np.float32),
        expert_output_fraction=np.ones(ids.shape[:2], dtype=np.float32),
        layers=tuple(range(LAYERS)),
        experts=EXPERTS,
    )

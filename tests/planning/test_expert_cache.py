"""Hit rates of a real trace in a plan: which capacity is read, and what it does to memory and speed."""

from __future__ import annotations

import numpy as np
import pytest

from gemma_lab.analysis import expert_cache_curve, offload_speed
from gemma_lab.errors import LabError
from gemma_lab.planning.planner import plan
from gemma_lab.trace.records.routing import Routing

CARD = {"name": "RTX 5060 Ti", "link_gb_s": 25}
SETTING = {"quantization": "Q6_K", "context": 8192}


def drawn(*, k: int = 8, experts: int = 128) -> Routing:
    """Return three layers of routing of 150 tokens that prefer some experts."""
    generator = np.random.default_rng(7)
    taste = generator.gumbel(size=(3, 1, experts)) * 2
    scores = taste + generator.gumbel(size=(3, 150, experts))
    ids = np.argsort(-scores, axis=2)[:, :, :k]
    return Routing.of(
        ids,
        np.full(ids.shape, 1 / k, dtype=np.float32),
        scale=np.ones((3, experts), dtype=np.float32),
        entropy=np.ones((3, 150), dtype=np.float32),
        expert_output_fraction=np.full((3, 150), 0.5, dtype=np.float32),
        layers=(0, 1, 2),
        experts=experts,
        precision="full",
    )


@pytest.fixture(scope="module")
def routing() -> Routing:
    return drawn()


def test_a_curve_is_read_at_the_capacity_that_the_memory_leaves(routing: Routing) -> None:
    curve = expert_cache_curve(routing)
    made = plan("26B-A4B", hardware=CARD, expert_hit_rate=curve, **SETTING)
    held = made.expert_cache
    assert held is not None
    without = plan("26B-A4B", hardware=CARD, **SETTING)
    experts = next(part.bytes for part in without.parts if part.key == "experts")
    left = without.usable_bytes - (without.needed_bytes - experts)
    size = int(left / experts * 128)
    assert 0 < size < 128
    assert held.share == pytest.approx(size / 128)
    assert held.hit_rate == pytest.approx(curve.hit_rate("lru", warm=True)[size - 1])
    assert f"{size} of 128 experts" in held.source
    assert f"{held.hit_rate:.1%}" in str(made)
    assert made.fits is True
    assert made.needed_bytes + experts / 128 > made.usable_bytes  # one expert more would not fit
    assert made.to_dict()["expert_cache"]["share"] == held.share
    same = plan("26B-A4B", hardware=CARD, expert_hit_rate=held.hit_rate, **SETTING)
    assert same.decode.value == pytest.approx(made.decode.value)
    assert made.decode.low < made.decode.value < made.bound


def test_an_offload_estimate_gives_the_same_hit_rate(routing: Routing) -> None:
    curve = expert_cache_curve(routing)
    estimate = offload_speed(curve, gpu="L4", link=25)
    rates = [
        plan("26B-A4B", hardware=CARD, expert_hit_rate=each, **SETTING).expert_cache
        for each in (curve, estimate)
    ]
    assert rates[0].hit_rate == pytest.approx(rates[1].hit_rate)
    assert rates[0].share == rates[1].share
    with pytest.raises(LabError, match="Qwen3"):
        plan("Qwen3.6-35B-A3B", hardware=CARD, expert_hit_rate=estimate, quantization="Q4_0")


def test_other_policies_are_read_when_lru_was_not_replayed(routing: Routing) -> None:
    best = plan("26B-A4B", hardware=CARD, expert_hit_rate=expert_cache_curve(routing, policies=("belady",)))
    assert best.expert_cache.policy == "belady"
    assert best.expert_cache.source.startswith("BELADY")


def test_a_card_that_holds_every_expert_misses_none(routing: Routing) -> None:
    made = plan("26B-A4B", hardware="RTX 5090", expert_hit_rate=expert_cache_curve(routing), **SETTING)
    assert made.expert_cache.share == 1
    assert made.expert_cache.hit_rate == pytest.approx(1.0)
    assert made.decode.value == pytest.approx(plan("26B-A4B", hardware="RTX 5090", **SETTING).decode.value)
    assert not made.spilled
    assert made.decode.high == pytest.approx(plan("26B-A4B", hardware="RTX 5090", **SETTING).decode.high)


def test_a_card_without_memory_for_an_expert_hits_none(routing: Routing) -> None:
    made = plan(
        "26B-A4B",
        hardware={"memory_gib": 3, "bandwidth_gb_s": 200},
        expert_hit_rate=expert_cache_curve(routing),
    )
    assert (made.expert_cache.share, made.expert_cache.hit_rate) == (0, 0)


def test_a_curve_of_another_model_or_an_unknown_memory_is_refused(routing: Routing) -> None:
    few = expert_cache_curve(drawn(k=4, experts=16))
    with pytest.raises(LabError, match="top-4 of 16"):
        plan("26B-A4B", hardware=CARD, expert_hit_rate=few)
    with pytest.raises(LabError, match="memory is unknown") as caught:
        plan("26B-A4B", hardware={"bandwidth_gb_s": 400}, expert_hit_rate=expert_cache_curve(routing))
    assert "memory_gib" in caught.value.hint


def test_a_given_rate_of_any_number_type_is_taken() -> None:
    made = plan("26B-A4B", hardware=CARD, expert_hit_rate=np.float32(0.5), **SETTING)
    assert made.expert_cache.hit_rate == 0.5
    assert made.fits is True
    assert "given" in str(made)

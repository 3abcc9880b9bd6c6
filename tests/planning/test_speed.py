"""The speed model: errors on runs it was not fitted to, depth sweeps, bounds, hand-worked examples."""

from __future__ import annotations

import math
import statistics

import pytest

from gemma_lab.errors import LabError
from gemma_lab.planning.facts import read_facts, read_rows
from gemma_lab.planning.models import model_shape
from gemma_lab.planning.planner import plan
from gemma_lab.planning.speed import bound_seconds, decode_seconds, fitted_constants
from gemma_lab.planning.workload import Step, decode_step
from tools.planning.fit import LEVEL, fit, left_out, summary
from tools.planning.rivals import RIVALS
from tools.planning.runs import runs, settings


@pytest.fixture(scope="module")
def measured() -> list:
    return settings(runs())


def test_the_shipped_constants_are_those_that_the_shipped_runs_give(measured: list) -> None:
    assert fit(measured) == pytest.approx(dict(fitted_constants()), abs=2e-3)


@pytest.mark.slow
def test_errors_with_the_runs_card_left_out_meet_their_bars(measured: list) -> None:
    predictions = left_out(measured)
    pairs = [(run.card, math.log(predictions[run.ids[0]][0] / run.tokens_per_second)) for run in measured]
    found = summary(pairs)
    assert found["median"] <= 0.10
    assert found["p90"] <= 0.25
    assert 0.75 <= found["coverage"] <= 0.90
    assert found["settings"] > 80
    assert found["cards"] >= 15
    shipped = read_facts("errors.json")["decode"]
    assert found["median"] == pytest.approx(shipped["median"], abs=2e-3)
    assert read_facts("constants.json")["interval"]["level"] == LEVEL


def test_it_is_better_than_every_other_rule(measured: list) -> None:
    rows = {row["ids"][0]: row["left_out"] for row in read_facts("errors.json")["rows"]}
    kit = statistics.median(abs(rows[run.ids[0]] / run.tokens_per_second - 1) for run in measured)
    for rule in RIVALS.values():
        theirs = statistics.median(abs(rule(run.step) / run.tokens_per_second - 1) for run in measured)
        assert kit < theirs


def test_depth_sweeps_are_within_fifteen_percent_at_every_depth(measured: list) -> None:
    constants = fitted_constants()
    sweeps: dict[tuple[str, ...], list] = {}
    for run in measured:
        row = run.row
        key = (
            row["model"],
            row["hardware"],
            row["runtime"],
            row["quantization"],
            row["date"][:7],
            row["version"],
        )
        sweeps.setdefault(key, []).append(run)
    deep = [
        group
        for group in sweeps.values()
        if max(int(run.row["depth"]) for run in group) >= 8000 and len(group) > 1
    ]
    assert len(deep) >= 5
    for group in deep:
        for run in group:
            assert 1 / decode_seconds(run.step, constants) == pytest.approx(
                run.tokens_per_second, rel=0.15
            ), run.row


def test_no_fitted_run_is_faster_than_reading_the_model_allows(measured: list) -> None:
    for run in measured:
        assert run.tokens_per_second <= 1 / bound_seconds(run.step) * 1.01, run.row


def test_runs_above_the_bound_are_flagged_and_not_fitted() -> None:
    above = [
        run
        for run in runs("drafter", "ambiguous", "check")
        if run.tokens_per_second > 1 / bound_seconds(run.step)
    ]
    assert len(above) >= 5
    assert all(run.row["why"] for run in above)
    made = plan("31B", hardware="M5 Max", quantization="mlx-4bit", runtime="MLX")
    assert made.exceeds_bound(47.25)
    assert not made.exceeds_bound(20)


def test_every_row_that_is_not_fitted_says_why() -> None:
    for row in read_rows("measured_runs.csv"):
        assert row["use"] == "fit" or row["why"], row["id"]
        assert row["source"], row["id"]
        assert row["date"], row["id"]


def test_a_step_by_hand() -> None:
    """26B-A4B in Q4_0 on an RTX 3090, cache empty: bytes of the parts, times by the constants."""
    constants = fitted_constants()
    shape = model_shape("26B-A4B")
    shared = (shape.parts["attention"] + shape.parts["dense"]) * 4.5 / 8
    shared += shape.parts["other"] * 2 + shape.parts["embedding"] * 6.5625 / 8
    experts = shape.parts["experts"] * 4.5 / 8 * 8 / 128
    share = math.exp(constants["weight_share"])
    reading = shared / (share * 936e9) + experts / (math.exp(constants["expert_share"]) * share * 936e9)
    layer = math.exp(constants["layer_time"] + constants["layer_time.moe"])
    made = plan("26B-A4B", hardware="RTX 3090", quantization="Q4_0", runtime_date="2026-07", depth=0)
    assert made.decode is not None
    assert 1 / made.decode.value == pytest.approx(reading + 30 * layer * 1e-3, rel=1e-6)


def test_speed_falls_with_depth_and_rises_with_bandwidth() -> None:
    made = plan("E4B", hardware="RTX 4070", quantization="Q8_0", context=131_072)
    speeds = [estimate.value for _, estimate in made.depths()]
    assert speeds == sorted(speeds, reverse=True)
    slow = plan("E4B", hardware={"memory_gib": 16, "bandwidth_gb_s": 300})
    fast = plan("E4B", hardware={"memory_gib": 16, "bandwidth_gb_s": 900})
    assert slow.decode is not None
    assert fast.decode is not None
    assert slow.decode.value < fast.decode.value < 3 * slow.decode.value * 1.5


def test_a_batch_makes_more_tokens_together_and_fewer_each() -> None:
    one, many = (
        plan("31B", hardware="H200", runtime="vLLM", quantization="fp8", batch=batch) for batch in (1, 32)
    )
    assert one.decode is not None
    assert many.decode is not None
    assert many.throughput is not None
    assert many.decode.value < one.decode.value < many.throughput.value


def test_a_published_batch_is_within_its_interval() -> None:
    """hexgrid's 31B in FP8 on an RTX PRO 6000, up to 24 users: 548 tokens/s of answers together."""
    made = plan(
        "31B", hardware="RTX PRO 6000", runtime="vLLM", quantization="fp8", batch=24, context=8192, depth=2000
    )
    assert made.throughput is not None
    assert made.throughput.low < 548 < made.throughput.high


@pytest.mark.parametrize(
    ("quantization", "options", "published"),
    [
        ("Q4_K_M", {"offload": "experts"}, 51.0),
        ("Q8_0", {"offload": "experts"}, 35.7),
    ],
)
def test_experts_in_main_memory_run_as_published(quantization: str, options: dict, published: float) -> None:
    """r/LocalLLaMA, February 2026: RTX 5080 beside DDR5-4800 of 77 GB/s."""
    machine = {"name": "RTX 5080", "host_bandwidth_gb_s": 77}
    made = plan(
        "Qwen3.5-35B-A3B",
        hardware=machine,
        quantization=quantization,
        context=65_536,
        runtime_date="2026-02",
        **options,
    )
    assert made.decode is not None
    assert made.decode.value == pytest.approx(published, rel=0.1)


SPILLED = {
    "r069": {},
    "r072": {"hardware": {"name": "RTX 3090", "free_gib": 15.1}},
    "r086": {},
    "r087": {},
    "r088": {},
    "r089": {"hardware": {"name": "RTX 5060 Ti 16GB", "host_bandwidth_gb_s": 96}},
    "r091": {"hardware": {"name": "RTX 5080", "host_bandwidth_gb_s": 77}, "context": 65_536},
    "r099": {"context": 131_072},
}
"""Published runs with a part of the weights in main memory, with what their sources say beyond the table."""


def test_runs_that_spill_are_about_as_fast_as_published() -> None:
    rows = {row["id"]: row for row in read_rows("measured_runs.csv") if row["use"] == "spill"}
    inside = 0
    for name, changes in SPILLED.items():
        row = rows[name]
        made = plan(
            row["model"],
            **{
                "hardware": row["hardware"],
                "quantization": row["quantization"],
                "runtime": row["runtime"],
                "runtime_date": row["date"],
                "cache": row["cache"],
                "depth": int(row["depth"]),
                "offload": "auto",
                **changes,
            },
        )
        assert made.spilled
        assert made.decode is not None
        measured = float(row["decode_tok_s"])
        assert 0.45 < measured / made.decode.value < 1.25, name
        inside += made.decode.low < measured < made.decode.high
    assert inside == 5


def test_an_expert_cache_that_always_hits_is_as_fast_as_the_card() -> None:
    base = {"hardware": "RTX 5090", "quantization": "Q4_K_M"}
    speeds = [plan("26B-A4B", **base, expert_hit_rate=rate).decode.value for rate in (0.0, 0.5, 0.9, 1.0)]
    assert speeds == sorted(speeds)
    assert speeds[-1] == pytest.approx(plan("26B-A4B", **base).decode.value)


def test_a_drafter_yields_what_its_acceptance_says() -> None:
    made = plan(
        "26B-A4B",
        hardware="RTX 3090",
        quantization="qat",
        cache="q8_0",
        runtime_date="2026-06",
        drafter={"tokens": 1, "acceptance": 0.765},
        depth=200,
    )
    assert made.drafter is not None
    assert made.drafter.tokens_per_step == pytest.approx(1.765)
    assert made.decode is not None
    assert made.decode.value == pytest.approx(180, rel=0.15)  # bittide, June 2026
    never = plan("26B-A4B", hardware="RTX 3090", quantization="qat", drafter={"tokens": 4, "acceptance": 0.0})
    plain = plan("26B-A4B", hardware="RTX 3090", quantization="qat")
    assert never.decode.value < plain.decode.value


def test_the_experts_that_a_pass_loads_can_be_given() -> None:
    base = {"hardware": "RTX 3090", "quantization": "qat", "depth": 0}

    def speed(**options: object) -> float:
        drafter = {"tokens": 3, "acceptance": 0.7, **options}
        made = plan("26B-A4B", **base, drafter=drafter)
        assert made.decode is not None
        return made.decode.value

    # the rule of the planner is the share that 4^0.7 independent tokens load
    by_rule = 1 - (1 - 8 / 128) ** (4**0.7)
    assert speed(expert_share=by_rule) == pytest.approx(speed())
    shares = [8 / 128, 0.1, 0.2, 0.5, 1.0]
    speeds = [speed(expert_share=share) for share in shares]
    assert speeds == sorted(speeds, reverse=True)
    step = decode_step_of("26B-A4B", expert_share=1.0)
    assert step.expert_share == 1.0


def decode_step_of(model: str, **options: float) -> Step:
    """Return the step of a plan that verifies four tokens."""
    made = plan(model, hardware="RTX 3090", quantization="qat", depth=0)
    return decode_step(
        made.shape, made.weights, made.hardware, made.runtime, depth=0, tokens_at_once=4, **options
    )


@pytest.mark.parametrize(("share", "model"), [(0.01, "26B-A4B"), (1.5, "26B-A4B"), (0.2, "31B")])
def test_impossible_shares_of_experts_are_refused(share: float, model: str) -> None:
    with pytest.raises(LabError, match="expert"):
        plan(model, hardware="RTX 3090", quantization="qat", drafter={"tokens": 3, "expert_share": share})

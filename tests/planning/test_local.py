"""Plans for the machine at hand."""

from __future__ import annotations

import pytest

from gemma_lab.family.architecture import get_architecture
from gemma_lab.planning.local import CONTEXT, local_hardware, local_plan, working_bytes
from gemma_lab.planning.measurement import measure_speed
from gemma_lab.planning.models import model_shape
from gemma_lab.planning.quantization import quantization

GIB = 2**30


def test_a_known_card_brings_its_bandwidth_and_an_unknown_one_only_memory() -> None:
    known = local_hardware(kind="cuda", label="NVIDIA GeForce RTX 3090", total=24 * GIB, free=20 * GIB)
    assert (known.bandwidth_gb_s, known.usable_bytes) == (936, 20 * GIB)
    other = local_hardware(kind="cuda", label="Some Card 9", total=8 * GIB, free=7 * GIB)
    assert other.bandwidth_gb_s is None
    assert local_plan(get_architecture("E2B"), hardware=other, runtime="llama.cpp", quantization="Q4_0").fits


def test_free_memory_decides_what_fits_here() -> None:
    model = get_architecture("12B")
    for free, fits in ((20, False), (40, True)):
        here = local_hardware(kind="cpu", label="CPU", total=64 * GIB, free=free * GIB)
        made = local_plan(model, hardware=here)
        assert made.fits is fits
        assert made.setting.context == CONTEXT
        assert bool(made.advice) is not fits
    single = local_plan(model, hardware=here, quantization="fp32")
    assert single.needed_bytes > 1.9 * made.needed_bytes


def test_the_room_to_work_in_is_the_plan_without_its_weights() -> None:
    model = get_architecture("26B-A4B")
    here = local_hardware(kind="cuda", label="Some Card 9", total=80 * GIB, free=70 * GIB)
    made = local_plan(model, hardware=here)
    weights = sum(quantization("bf16").weight_bytes(made.shape).values())
    assert working_bytes(model, kind="cuda") == pytest.approx(made.needed_bytes - weights, abs=2)
    assert working_bytes(model, kind="cuda", value_bytes=4) > working_bytes(model, kind="cuda")


class Timed:
    """A model whose passes take as long as they are told."""

    name = "timed"
    shape = model_shape("E2B")
    weights = quantization("bf16")
    runtime = "transformers"
    version = "5.24.0"

    def __init__(self) -> None:
        self.hardware = local_hardware(kind="cpu", label="CPU", total=32 * GIB, free=24 * GIB)

    def prompt_seconds(self, tokens: int) -> float:
        return tokens / 2000

    def step_seconds(self, depth: int, repeats: int) -> list[float]:
        return [0.01, 0.02, 0.03][:repeats]


def test_measured_speed_becomes_rows_of_the_shared_table() -> None:
    report = measure_speed(Timed(), depths=(512, 0), repeats=3, date="2026-11-29")
    assert [point.depth for point in report.points] == [0, 512]
    first, second = report.points
    assert (first.tokens_per_second, first.prompt_tokens_per_second) == (50.0, None)
    assert second.prompt_tokens_per_second == pytest.approx(2000)
    rows = report.to_rows()
    assert [row["depth"] for row in rows] == [0, 512]
    assert rows[1]["decode_tok_s"] == 50.0
    header, *lines = report.to_csv().splitlines()
    assert header.startswith("id,model,")
    assert len(lines) == 2
    assert "timed" in str(report)
    assert "50.0" in report.figure().text
    assert "<table" in report._repr_html_()


def test_depths_out_of_range_are_refused() -> None:
    from gemma_lab.errors import LabError

    for depths in ((), (-1,), (131_072,)):
        with pytest.raises(LabError, match="depths"):
            measure_speed(Timed(), depths=depths, repeats=3)

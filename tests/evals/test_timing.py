"""Timing a mini model on this machine."""

from __future__ import annotations

import gemma_lab as gl
from gemma_lab.evals.timing import speed


def test_a_mini_is_timed_beside_its_plan() -> None:
    lab = gl.load("mini-moe")
    report = speed(lab, depths=(0, 64), repeats=2)
    assert report.name == "mini-moe"
    assert [point.depth for point in report.points] == [0, 64]
    assert all(point.slowest <= point.tokens_per_second <= point.fastest for point in report.points)
    assert report.plan.shape.experts == lab.text_config.num_experts
    assert report.plan.decode is not None
    assert report.plan.hardware.bandwidth_gb_s > 0
    assert report.plan.shape.total == sum(p.numel() for p in lab.model.parameters())

"""Bytes of packed experts, and what packing costs in skill: the same questions before and after."""

from __future__ import annotations

import statistics

import pytest

import gemma_lab as gl

BYTES = {"int8": 0.56, "int4": 0.31}  # of bfloat16, scales included
POINTS = 2.0  # percentage points of the mean of skills that int4 may lose


@pytest.mark.parametrize("quantization", BYTES)
def test_packed_experts_are_small(record, quantization):
    whole = gl.load("mini-moe", dtype="bfloat16", progress=False).bits()["experts"]
    packed = gl.load("mini-moe", dtype="bfloat16", quantization=quantization, progress=False).bits()[
        "experts"
    ]
    ratio = packed.bytes / whole.bytes
    target = BYTES[quantization]
    note = f"mini-moe, {packed.bits:.2f} bits a weight; rows of 16 and of 128 weights, groups of 32"
    record(f"{quantization}-bytes", ratio, f"≤ {target}", "×", note)
    assert ratio <= target


def test_packing_keeps_the_skills(record):
    plain = gl.load("mini-moe", progress=False).checkup(progress=False)
    before = {score.name: score for score in plain.skills}
    asked = sum(score.asked for score in plain.skills)
    changes, below = {}, {}
    for quantization in BYTES:
        lab = gl.load("mini-moe", quantization=quantization, progress=False)
        after = {score.name: score.accuracy for score in lab.checkup(progress=False).skills}
        mean = statistics.mean(after.values()) - statistics.mean(score.accuracy for score in plain.skills)
        changes[quantization] = 100 * mean
        below[quantization] = [name for name, score in before.items() if after[name] < score.interval[0]]
    note = f"mini-moe, {asked} questions of {len(before)} skills, greedy"
    record("int8-skills", len(below["int8"]), "= 0", "", f"{note}; mean {changes['int8']:+.2f} points")
    record("int4-skills", -changes["int4"], f"≤ {POINTS}", "points", note)
    assert not below["int8"]
    assert changes["int4"] >= -POINTS

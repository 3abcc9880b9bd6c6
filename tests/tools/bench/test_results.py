"""A result refuses what is no measurement, knows whether its target holds, and survives its file."""

from __future__ import annotations

import math

import pytest

from gemma_lab.errors import LabError
from tools.bench.results import Outcome, Result, append, read


@pytest.mark.parametrize(
    ("measured", "target", "met"),
    [
        (1.5, "≤ 1.5", True), (1.51, "≤ 1.5", False), (0.3, "< 0.3", False), (0.95, "≥ 0.95", True),
        (131_071, "≥ 131,072", False), (1.0, "> 1", False), (0, "= 0", True),
        (9e-6, "≤ 1e-5", True), (7.0, "", None),
    ],
)  # fmt: skip
def test_a_target_is_compared_as_it_reads(measured, target, met):
    assert Result("row", measured, target).met is met


@pytest.mark.parametrize("measured", [math.nan, math.inf])
def test_a_number_that_is_none_is_refused(measured):
    with pytest.raises(LabError, match="not a measurement"):
        Result("row", measured)


@pytest.mark.parametrize("target", ["1.5", "about 3", "≤", 1.5])
def test_a_target_without_sign_or_number_is_refused(target):
    with pytest.raises(LabError, match="not a target"):
        Result("row", 1.0, target)


def test_what_was_written_is_read_back(tmp_path):
    file = tmp_path / "sub" / "results.jsonl"
    result = Result("row", 1.25, "≤ 2", "×", "a | note", case="4,096 tokens", rivals={"HF eager": "7.9 ×"})
    outcome = Outcome("tests/benchmarks/test_x.py::test_y", "skipped", "no Chromium", "2026-11-24")
    append(file, result)
    append(file, outcome)
    assert read(file) == ([result], [outcome])


@pytest.mark.parametrize("line", ["{", '{"row": "a"}', '{"test": "a", "colour": 1}', "[]", "3"])
def test_a_damaged_line_is_named(tmp_path, line):
    file = tmp_path / "results.jsonl"
    append(file, Result("row", 1.0))
    file.write_text(file.read_text(encoding="utf-8") + line + "\n", encoding="utf-8")
    with pytest.raises(LabError, match=r"Line 2 of results\.jsonl"):
        read(file)

"""Intervals of predictions: their width, and what makes it wider."""

from __future__ import annotations

import math

import pytest

from gemma_lab.planning.devices import find_hardware
from gemma_lab.planning.estimates import WIDER_HARDWARE, fitted_estimate, hardware_width
from gemma_lab.planning.facts import read_facts


@pytest.mark.parametrize("figure", ["decode", "prompt"])
@pytest.mark.parametrize("wider", [0.0, 0.3])
def test_an_interval_is_symmetric_in_logarithms(figure, wider):
    made = fitted_estimate(figure, 50.0, "tokens/s", "", wider=wider)
    assert made.value == 50
    assert made.low * made.high == pytest.approx(50**2)
    width = read_facts("constants.json")["interval"][figure] + wider
    assert math.log(made.high / made.low) == pytest.approx(2 * width)


def test_unmeasured_hardware_has_wider_intervals():
    assert hardware_width(find_hardware("RTX 3090")) == 0
    guess = find_hardware({"memory_gib": 24, "bandwidth_gb_s": 936})
    assert hardware_width(guess) > 0
    far = find_hardware({"memory_gib": 24, "bandwidth_gb_s": 936 * 40, "kind": "cuda", "tensor_tflops": 71})
    most = read_facts("constants.json")["bandwidth_gb_s"][1]
    assert hardware_width(far) == pytest.approx(WIDER_HARDWARE["bandwidth"] * math.log(936 * 40 / most))

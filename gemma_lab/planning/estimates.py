"""Predicted figures with their intervals, and what makes an interval wider. No torch."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .facts import read_facts

if TYPE_CHECKING:
    from .devices import Hardware

MEASURED_FAMILIES = ("llama.cpp", "vLLM", "MLX")
WIDER = {"runtime": 0.45, "spilled": 0.45, "drafter": 0.30, "batch": 0.30}
"""What is added to the interval in log units where no measured run was fitted; judged, not fitted."""
WIDER_HARDWARE = {"kind": 0.35, "assumed": 0.15, "rate": 0.10, "bandwidth": 0.15}
"""The same for hardware: a kind without fitted runs; a kind that was not given; a GPU of unknown rate of
operations, which may lack matrix units; and a bandwidth outside that of the fitted runs, times the logarithm
of how far."""


@dataclass(frozen=True)
class Estimate:
    """A predicted figure with its 80 % interval.

    Attributes
    ----------
    value
        The prediction.
    low, high
        Four of five measured runs lay between such bounds when their card was left out of the fit.
    unit
        E.g. ``"tokens/s"``.
    formula
        The formula with its numbers.
    source
        Where the constants come from.
    """

    value: float
    low: float
    high: float
    unit: str
    formula: str = ""
    source: str = ""

    def __repr__(self) -> str:
        return f"Estimate({self.value:.3g} {self.unit}, 80 % interval {self.low:.3g} to {self.high:.3g})"

    def to_dict(self) -> dict[str, float | str]:
        """Return the fields as plain data."""
        return {
            "value": self.value,
            "low": self.low,
            "high": self.high,
            "unit": self.unit,
            "formula": self.formula,
            "source": self.source,
        }


def fitted_estimate(figure: str, value: float, unit: str, formula: str, *, wider: float) -> Estimate:
    """Return a prediction of the fitted constants with its interval.

    Parameters
    ----------
    figure
        ``"decode"`` or ``"prompt"``: whose errors make the interval.
    value, unit, formula
        Of the prediction.
    wider
        What half the interval is wider by than the fit's own, in log units.
    """
    facts = read_facts("constants.json")
    width = facts["interval"][figure] + wider
    source = f"constants fitted to {facts['fitted_to']}, newest {facts['newest_run']}"
    return Estimate(value, value * math.exp(-width), value * math.exp(width), unit, formula, source)


def hardware_width(hardware: Hardware) -> float:
    """Return what intervals are wider by on some hardware, for what no fitted run says of it."""
    wider = WIDER_HARDWARE["kind"] if hardware.kind in ("cpu", "sycl") else 0.0
    if hardware.kind_assumed:
        wider += WIDER_HARDWARE["assumed"]
    if hardware.kind == "cuda" and hardware.tensor_tflops is None:
        wider += WIDER_HARDWARE["rate"]
    if hardware.bandwidth_gb_s and hardware.kind != "cpu":
        least, most = read_facts("constants.json")["bandwidth_gb_s"]
        inside = min(max(hardware.bandwidth_gb_s, least), most)
        wider += WIDER_HARDWARE["bandwidth"] * abs(math.log(hardware.bandwidth_gb_s / inside))
    return wider

"""Measured speed of a model on this machine, beside its plan, as rows of the shared table. No torch."""

from __future__ import annotations

import csv
import io
import statistics
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from ..display import Displayed
from ..errors import LabError
from .facts import read_rows
from .planner import plan
from .plans import Plan

if TYPE_CHECKING:
    from .devices import Hardware
    from .models import ModelShape
    from .quantization import Quantization


class TimedModel(Protocol):
    """A model whose passes can be timed."""

    name: str
    shape: ModelShape
    weights: Quantization
    hardware: Hardware
    runtime: str
    version: str

    def prompt_seconds(self, tokens: int) -> float:
        """Process a prompt of so many tokens and return the seconds it took."""

    def step_seconds(self, depth: int, repeats: int) -> list[float]:
        """Return the seconds of single decoding steps with `depth` tokens in the cache."""


@dataclass(frozen=True)
class SpeedPoint:
    """Measured speed at one depth.

    Attributes
    ----------
    depth
        Tokens in the cache, and length of the prompt that was timed.
    tokens_per_second
        Decoding, the median of the steps.
    slowest, fastest
        Of the steps.
    prompt_tokens_per_second
        Processing a prompt of `depth` tokens; None at depth 0.
    """

    depth: int
    tokens_per_second: float
    slowest: float
    fastest: float
    prompt_tokens_per_second: float | None


@dataclass(frozen=True)
class SpeedReport(Displayed):
    """What `measure_speed` found.

    Attributes
    ----------
    name
        Of the model.
    plan
        The plan for the same model on this machine.
    points
        Measured speed, shallowest first.
    runtime, version, date
        What ran, and when (ISO).
    """

    name: str
    plan: Plan
    points: tuple[SpeedPoint, ...] = field(repr=False)
    runtime: str = "transformers"
    version: str = ""
    date: str = ""

    def __repr__(self) -> str:
        first = self.points[0]
        return (
            f"SpeedReport({self.name} on {self.plan.hardware.label}: {first.tokens_per_second:.1f} tokens/s "
            f"at depth {first.depth:,}, {len(self.points)} depths)"
        )

    def to_rows(self) -> list[dict[str, Any]]:
        """Return the points as rows of ``measured_runs.csv``."""
        columns = list(read_rows("measured_runs.csv")[0])
        return [dict.fromkeys(columns, "") | self._row(point) for point in self.points]

    def to_csv(self) -> str:
        """Return the rows as CSV, with the header of ``measured_runs.csv``."""
        rows = self.to_rows()
        text = io.StringIO()
        writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        return text.getvalue()

    def to_dict(self) -> dict[str, Any]:
        """Return the report as plain data."""
        return {
            "name": self.name,
            "runtime": self.runtime,
            "version": self.version,
            "date": self.date,
            "bandwidth_gb_s": self.plan.hardware.bandwidth_gb_s,
            "points": [vars(point) for point in self.points],
            "predicted": [
                None if (each := self.plan.decode_at(point.depth)) is None else each.to_dict()
                for point in self.points
            ],
        }

    def _row(self, point: SpeedPoint) -> dict[str, Any]:
        prompt = point.prompt_tokens_per_second
        return {
            "model": self.plan.shape.key,
            "quantization": self.plan.weights.name,
            "hardware": self.plan.hardware.label,
            "runtime": self.runtime,
            "version": self.version,
            "date": self.date,
            "depth": point.depth,
            "batch": 1,
            "cache": "f16",
            "placement": "device",
            "decode_tok_s": round(point.tokens_per_second, 3),
            "prefill_tok_s": "" if prompt is None else round(prompt, 2),
            "prompt": "" if prompt is None else point.depth,
            "use": "check",
            "origin": "user-submitted",
            "source": f"gemma-lab speed, {self.plan.hardware.bandwidth_gb_s or 0:.1f} GB/s measured",
        }


def measure_speed(
    model: TimedModel, *, depths: Iterable[int] = (0, 512, 2048), repeats: int = 8, date: str = ""
) -> SpeedReport:
    """Time prompts and decoding steps of a model, and set them beside its plan.

    Parameters
    ----------
    model
        What is timed.
    depths
        Tokens in the cache. Those beyond the model's context are refused.
    repeats
        Steps timed at each depth.
    date
        Today, ISO, for the rows.

    Raises
    ------
    LabError
        If there is no depth, or one is out of range, or `repeats` is below 1.
    """
    wanted = sorted(dict.fromkeys(depths))
    if not wanted or wanted[0] < 0 or wanted[-1] > model.shape.context - repeats - 1:
        raise LabError(
            f"depths must be 0 to {model.shape.context - repeats - 1:,} tokens for {model.name}, "
            f"not {wanted}.",
            hint="A step needs a place after the depth.",
        )
    if repeats < 1:
        raise LabError(f"repeats must be at least 1, not {repeats}.")
    made = plan(
        model.shape,
        hardware=model.hardware,
        quantization=model.weights,
        runtime=model.runtime,
        context=min(model.shape.context, max(1, wanted[-1] + repeats + 1)),
        cache="fp32" if model.weights.name == "fp32" else "f16",
        depth=wanted[0],
    )
    points = []
    for depth in wanted:
        prompt = model.prompt_seconds(depth) if depth else None
        steps = model.step_seconds(depth, repeats)
        points.append(
            SpeedPoint(
                depth=depth,
                tokens_per_second=1 / statistics.median(steps),
                slowest=1 / max(steps),
                fastest=1 / min(steps),
                prompt_tokens_per_second=None if not prompt else depth / prompt,
            )
        )
    return SpeedReport(model.name, made, tuple(points), model.runtime, model.version, date)

"""Measured runs near a plan, and whether a measured figure is possible at all. No torch."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

from .devices import find_hardware
from .facts import number, read_facts, read_rows
from .models import model_shape

if TYPE_CHECKING:
    from .devices import Hardware
    from .models import ModelShape
    from .quantization import Quantization
    from .runtimes import Runtime


@dataclass(frozen=True)
class MeasuredRun:
    """One row of the shipped runs.

    Attributes
    ----------
    id
        Row of ``measured_runs.csv``.
    model, quantization, hardware, runtime, version, date, depth
        What was run where; depth in tokens.
    tokens_per_second
        Decoding speed.
    predicted
        What the model predicts with that card left out of the fit; None for runs that were not fitted.
    origin
        ``"published"`` or ``"user-submitted"``.
    use, why
        Whether it was fitted (``"fit"``), and why not.
    source
        Where it was published.
    """

    id: str
    model: str
    quantization: str
    hardware: str
    runtime: str
    version: str
    date: str
    depth: int
    tokens_per_second: float
    predicted: float | None
    origin: str
    use: str
    why: str
    source: str

    @property
    def label(self) -> str:
        """What was run, in one line."""
        what = f"{self.model} {self.quantization}, {self.hardware}, {self.runtime}"
        return f"{what}, {self.date}, depth {self.depth:,}"


@cache
def measured_runs() -> tuple[MeasuredRun, ...]:
    """Return every shipped run with a decoding speed."""
    predicted = {each: row["left_out"] for row in read_facts("errors.json")["rows"] for each in row["ids"]}
    return tuple(
        MeasuredRun(
            id=row["id"],
            model=row["model"],
            quantization=row["quantization"],
            hardware=row["hardware"],
            runtime=row["runtime"],
            version=row["version"],
            date=row["date"],
            depth=int(float(row["depth"])),
            tokens_per_second=float(row["decode_tok_s"]),
            predicted=predicted.get(row["id"]),
            origin=row["origin"],
            use=row["use"],
            why=row["why"],
            source=row["source"],
        )
        for row in read_rows("measured_runs.csv")
        if number(row["decode_tok_s"])
    )


def nearest_runs(
    shape: ModelShape,
    weights: Quantization,
    hardware: Hardware,
    runtime: Runtime,
    *,
    depth: int,
    count: int = 3,
) -> tuple[MeasuredRun, ...]:
    """Return the fitted runs that are most like a plan, nearest first, at most one per setting.

    Another model counts most, then other hardware (by the ratio of the bandwidths), then runtime, format and
    depth.
    """

    def distance(run: MeasuredRun) -> float:
        other = _hardware(run.hardware)
        far = 0.0 if run.model == shape.key else 1.0 if _kind(run.model) == shape.kind else 3.0
        if other.name != hardware.name or other.devices != hardware.devices:
            ratio = (other.bandwidth_gb_s or 1.0) / (hardware.bandwidth_gb_s or 1.0)
            far += 0.4 + abs(math.log(ratio)) + (0.5 if other.kind != hardware.kind else 0.0)
        far += 0.0 if run.runtime == runtime.name else 0.3
        far += 0.0 if run.quantization == weights.name else 0.2
        return far + 0.15 * abs(math.log((run.depth + 1000) / (depth + 1000)))

    ranked = sorted((run for run in measured_runs() if run.use == "fit"), key=distance)
    found: dict[tuple[str, ...], MeasuredRun] = {}
    for run in ranked:
        found.setdefault(
            (run.model, run.hardware, run.runtime, run.quantization, str(run.depth // 1500)), run
        )
        if len(found) == count:
            break
    return tuple(found.values())


@cache
def _kind(model: str) -> str:
    return model_shape(model).kind


@cache
def _hardware(name: str) -> Hardware:
    return find_hardware(name)

"""A measured figure, and the clock and the memory meter of a device."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch

from tools.bench.results import Result

_ROUNDS = 3


@dataclass(frozen=True)
class Figure:
    """One line of the table.

    Attributes
    ----------
    row
        What is measured, e.g. ``"gpu-decode"``.
    case
        On what: model, dtype, tokens. A row and a case name a figure.
    value, unit
        The figure.
    target
        Sign and number, ``"≤ 1.5"``; empty to report only.
    note
        What the figure was made of.
    """

    row: str
    case: str
    value: float
    unit: str = ""
    target: str = ""
    note: str = ""

    @property
    def met(self) -> bool | None:
        """Whether the target is met; None without one."""
        return Result(self.row, float(self.value), self.target).met

    @property
    def must_hold(self) -> bool:
        """Whether a missed target is an error and not only a slow machine: those that are exact."""
        return self.target.startswith("=")

    def __str__(self) -> str:
        verdict = {True: "holds", False: "MISSED", None: ""}[self.met]
        return (
            f"  {self.row:<22}{self.value:>10.4g} {self.unit:<10}{self.target:<8}{verdict:<8}"
            f"{self.case}{'; ' if self.note else ''}{self.note}"
        )


@dataclass(frozen=True)
class Measured:
    """Least time of some calls in seconds, and peak memory beyond what was held before, in bytes.

    `peak` is 0 on devices that do not count it (the CPU, Apple's GPUs).
    """

    seconds: float
    peak: int


def measure(call: Callable[[], Any], device: torch.device, *, rounds: int = _ROUNDS) -> Measured:
    """Call once to warm up and then some times; return the least time and the peak memory."""
    call()
    times, peak = [], 0
    for _ in range(rounds):
        synchronize(device)
        held = _reset_peak(device)
        start = time.perf_counter()
        kept = call()
        synchronize(device)
        times.append(time.perf_counter() - start)
        if device.type == "cuda":
            peak = max(peak, torch.cuda.max_memory_allocated(device) - held)
        del kept
    return Measured(min(times), peak)


def synchronize(device: torch.device) -> None:
    """Wait until the device has done what it was asked."""
    if device.type != "cpu":
        torch.accelerator.synchronize(device)


def ratio_figures(
    name: str, case: str, plain: Measured, recorded: Measured, *, time_target: str, against: str = "SDPA"
) -> Iterator[Figure]:
    """Yield what recording costs in time and, where the device counts it, in memory.

    The rows are ``gpu-NAME-time`` and ``gpu-NAME-memory``; `against` names the plain way.
    """
    note = f"{against} {plain.seconds * 1e3:,.1f} ms, recorded {recorded.seconds * 1e3:,.1f} ms"
    yield Figure(f"gpu-{name}-time", case, recorded.seconds / plain.seconds, "×", time_target, note)
    if plain.peak and recorded.peak:
        note = f"beyond the weights: {against} {_mib(plain.peak)}, recorded {_mib(recorded.peak)}"
        yield Figure(f"gpu-{name}-memory", case, recorded.peak / plain.peak, "×", "≤ 1.3", note)


def _mib(count: int) -> str:
    return f"{count / 2**20:,.0f} MiB"


def _reset_peak(device: torch.device) -> int:
    if device.type != "cuda":
        return 0
    torch.cuda.reset_peak_memory_stats(device)
    return torch.cuda.memory_allocated(device)

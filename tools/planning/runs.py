"""Read the measured runs and turn each into what the speed model predicts."""

from __future__ import annotations

import statistics
from dataclasses import dataclass

from gemma_lab.planning.devices import find_hardware
from gemma_lab.planning.facts import number, read_rows
from gemma_lab.planning.models import model_shape
from gemma_lab.planning.quantization import cache_bits, quantization
from gemma_lab.planning.runtimes import find_runtime
from gemma_lab.planning.workload import Prompt, Step, decode_step, prompt_work

FITTED = "fit"
SHORTEST_PROMPT = 256
"""Tokens of a prompt from which on its speed is compared."""


@dataclass(frozen=True)
class Run:
    """One measured run, or the median of repeated runs of one setting.

    Attributes
    ----------
    ids
        Rows of ``measured_runs.csv``.
    card
        Hardware without the number of devices: what is left out together.
    setting
        What identifies the setting: model, hardware, runtime, quantisation, month, depth.
    step
        What one decoding step reads.
    tokens_per_second
        Measured decoding speed.
    """

    ids: tuple[str, ...]
    card: str
    setting: tuple[object, ...]
    step: Step
    tokens_per_second: float
    row: dict[str, str]
    prompt: Prompt | None = None

    @property
    def prompt_tokens_per_second(self) -> float | None:
        """Measured speed of processing the prompt; None where the prompt was too short to tell."""
        return number(self.row["prefill_tok_s"]) if self.prompt is not None else None


def runs(*uses: str) -> list[Run]:
    """Return the runs of ``measured_runs.csv`` whose ``use`` is one of `uses` (default: the fitted ones)."""
    wanted = uses or (FITTED,)
    return [_run(row) for row in read_rows("measured_runs.csv") if row["use"] in wanted]


def settings(measured: list[Run]) -> list[Run]:
    """Return one run per setting: the median of those that repeat it."""
    groups: dict[tuple[object, ...], list[Run]] = {}
    for run in measured:
        groups.setdefault(run.setting, []).append(run)
    merged = []
    for group in groups.values():
        middle = statistics.median(run.tokens_per_second for run in group)
        first = group[0]
        ids = tuple(each for run in group for each in run.ids)
        merged.append(Run(ids, first.card, first.setting, first.step, middle, first.row, first.prompt))
    return merged


def _run(row: dict[str, str]) -> Run:
    shape, hardware = model_shape(row["model"]), find_hardware(row["hardware"])
    size = number(row["file_gb"])
    weights = quantization(row["quantization"], file_bytes=size * 1e9 if size else None)
    depth = int(float(row["depth"]))
    step = decode_step(
        shape,
        weights,
        hardware,
        find_runtime(row["runtime"]),
        depth=depth,
        batch=1,
        cache_value_bytes=cache_bits(row["cache"], "") / 8,
        date=row["date"],
    )
    tokens = number(row["prompt"])
    prompt = None
    if tokens and tokens >= SHORTEST_PROMPT and number(row["prefill_tok_s"]):
        prompt = prompt_work(
            shape, weights, hardware, find_runtime(row["runtime"]), tokens=int(tokens), step=step
        )
    near = depth if depth >= 1500 else 0
    setting = (
        shape.key,
        hardware.label,
        row["runtime"],
        weights.name,
        row["file_gb"],
        row["date"][:7],
        row["version"].split(" ")[0]
        if row["runtime"] == "llama.cpp" and row["origin"] == "published"
        else "",
        near,
    )
    return Run((row["id"],), hardware.name, setting, step, float(row["decode_tok_s"]), row, prompt)

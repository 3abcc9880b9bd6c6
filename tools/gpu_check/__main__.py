"""``make gpu-check``: exactness, speed and memory of tracing on this machine's accelerator, in five minutes.

Needs no weights and no network: the minis ship with the repository, and models of true layer sizes get random
weights. Prints a table and appends it to the benchmarks' results under the name of the device; ends with an
error if what must be exact is not. On a machine without a GPU it says so and ends well; ``--device cpu`` runs
the same steps there, on fewer tokens and layers.
"""

from __future__ import annotations

import argparse
import datetime as dt
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path

import torch

from gemma_lab.errors import LabError
from gemma_lab.system.hardware import amount, devices
from tools.bench.ledger import RESULTS, keep, write_page
from tools.bench.machine import machine
from tools.bench.results import Result, append

from .figure import Figure
from .layers import true_sizes
from .minis import exactness, quantised, speed

Step = Callable[[], Iterator[Figure]]


def main(arguments: Sequence[str]) -> int:
    """Run every step that this machine can run, print the table, keep the results; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tools.gpu_check", description=__doc__)
    parser.add_argument("--device", help="Default: the first GPU.")
    parser.add_argument("--tokens", type=int, help="Of the recorded prompt: 4,096, or 128 on a CPU.")
    parser.add_argument("--layers", type=int, help="Of true size, random weights: 6, or 1 on a CPU.")
    parser.add_argument("--seconds", type=float, default=240, help="No step begins later (240).")
    parser.add_argument("--keep", action="store_true", help="Keep a CPU's results, too.")
    parser.add_argument("--only", action="append", help="A step: exactness, speed, quantised, 26B-A4B, 31B.")
    chosen = parser.parse_args(arguments)
    found = {one.name: one.kind for one in devices()}
    wanted = chosen.device or next((kind for kind in found.values() if kind != "cpu"), None)
    if wanted is None:
        print("No GPU was found (CUDA, ROCm or Apple's): nothing was run.")
        print("The same steps on the CPU: python -m tools.gpu_check --device cpu")
        return 0
    name = next((name for name, kind in found.items() if wanted in (name, kind)), None)
    if name is None:
        parser.error(f"--device {wanted}: this machine has {', '.join(found)}")
    device = torch.device(name)
    small = device.type == "cpu"
    # five local layers and a global one: the pattern of every size
    sized = {
        "tokens": chosen.tokens or (128 if small else 4096),
        "layers": chosen.layers or (1 if small else 6),
    }
    steps: dict[str, Step] = {
        "exactness": partial(exactness, device),
        "26B-A4B": partial(true_sizes, "26B-A4B", device, **sized),
        "31B": partial(true_sizes, "31B", device, **sized),
        "speed": partial(speed, device),
        "quantised": partial(quantised, device),
    }
    for unknown in set(chosen.only or ()) - set(steps):
        parser.error(f"--only {unknown}: the steps are {', '.join(steps)}")
    title = device_name(name)
    print(f"{title} · torch {torch.__version__}", flush=True)
    taken = {name: step for name, step in steps.items() if not chosen.only or name in chosen.only}
    figures, failed = run(taken, chosen.seconds)
    if figures and (chosen.keep or not small):
        keep_figures(figures, title)
    missed = [figure for figure in figures if figure.must_hold and not figure.met]
    for figure in missed:
        print(f"Not exact: {figure.row}, {figure.case}: {figure.value:g} ({figure.target}).")
    return 1 if missed or failed else 0


def run(steps: Mapping[str, Step], seconds: float) -> tuple[list[Figure], list[str]]:
    """Run steps one after the other; return their figures and the names of those that failed.

    What this machine lacks ends a step with a `LabError`, which is printed and is no failure.
    """
    figures: list[Figure] = []
    failed: list[str] = []
    begun = time.perf_counter()
    for name, step in steps.items():
        start = time.perf_counter()
        if start - begun > seconds:
            print(f"{name}: not run, {start - begun:.0f} of {seconds:.0f} s are over.")
            continue
        print(f"{name}", flush=True)
        try:
            for figure in step():
                figures.append(figure)
                print(figure, flush=True)
        except LabError as error:
            print(f"  not run. {error.what}", flush=True)
        except Exception as error:  # another step still says something of this machine
            failed.append(name)
            print(f"  FAILED. {type(error).__name__}: {error}", flush=True)
        print(f"  {time.perf_counter() - start:.0f} s", flush=True)
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
    return figures, failed


def device_name(name: str) -> str:
    """Return a device's own name with its memory; of a CPU the benchmarks' line of this machine."""
    found = next((one for one in devices() if one.name == name and one.kind != "cpu"), None)
    return machine() if found is None else f"{found.label}, {amount(found.total)}, torch {torch.__version__}"


def keep_figures(figures: Sequence[Figure], title: str, folder: Path = Path()) -> None:
    """Merge figures into a checkout's kept results, under the device's name, and write their page.

    They replace those of an earlier check of the same device.
    """
    label = title.partition(",")[0]
    today = dt.datetime.now(dt.UTC).date().isoformat()
    made = folder / "build" / "gpu-check.jsonl"
    made.unlink(missing_ok=True)
    for figure in figures:
        append(made, Result(
            figure.row, float(figure.value), figure.target, figure.unit, figure.note,
            case=f"{label}: {figure.case}", machine=title, date=today, test=f"gpu-check {label}",
        ))  # fmt: skip
    keep(made, folder)
    write_page(folder)
    print(f"Kept in {RESULTS}.")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

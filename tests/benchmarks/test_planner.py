"""Processor time of a plan with all its figures, and of an update of the planner's page."""

from __future__ import annotations

import json
import shutil
import statistics
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest

from gemma_lab.errors import LabError
from gemma_lab.planning.devices import hardware_names
from gemma_lab.planning.models import shapes_by_key
from gemma_lab.planning.planner import plan
from gemma_lab.planning.quantization import quantization_names
from gemma_lab.planning.runtimes import known_runtimes
from gemma_lab.widgets.planner.widget import Planner
from gemma_lab.widgets.shared.wire_types import TRAITS

PLAN_TARGET_MS, PAGE_TARGET_MS = 5, 50
SETTINGS = 200
PAGE = Path(__file__).parent / "planner_page.mjs"
SCRIPTS = Path(__file__).parents[2] / "gemma_lab" / "widgets" / "js" / "planner"


def settings() -> list[dict]:
    """Return random settings that a runtime takes; about half do not fit."""
    random = np.random.default_rng(0)
    found: list[dict] = []
    while len(found) < SETTINGS:
        runtime = str(random.choice(list(known_runtimes())))
        setting = {
            "hardware": str(random.choice(hardware_names())),
            "runtime": runtime,
            "quantization": str(random.choice(quantization_names(runtime))),
            "context": int(2 ** random.uniform(9, 17)),
            "batch": int(random.choice([1, 1, 4])),
        }
        try:
            plan("E2B", **setting)
        except LabError:  # a runtime that does not run on the hardware
            continue
        found.append(setting)
    return found


def test_a_plan_with_all_its_figures(capsys, record) -> None:
    models = list(shapes_by_key())
    times, fitting = [], 0
    for number, setting in enumerate(settings()):
        started = time.process_time()
        made = plan(models[number % len(models)], **setting)
        made.to_dict()
        times.append((time.process_time() - started) * 1e3)
        fitting += bool(made.fits)
    assert 0 < fitting < SETTINGS
    report("plan-time", "a plan with advice and all figures", times, PLAN_TARGET_MS, capsys, record)


def test_an_update_of_the_page(tmp_path: Path, capsys, record) -> None:
    node = shutil.which("node")
    if node is None:
        pytest.skip("node is not installed")
    widget = Planner(list(shapes_by_key()), day="2026-11-29")
    base = {name: getattr(widget, name) for name in TRAITS["PlannerTraits"] if not name.startswith("_")}
    states = [{**base, **setting} for setting in settings()]
    path = tmp_path / "input.json"
    path.write_text(json.dumps({"facts": widget._facts, "states": states}), encoding="utf-8")
    done = subprocess.run(
        [node, str(PAGE), str(SCRIPTS), str(path)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    report(
        "planner-update",
        "an update of the page, eight models",
        json.loads(done.stdout),
        PAGE_TARGET_MS,
        capsys,
        record,
    )


def report(key: str, what: str, times: list[float], target: float, capsys, record) -> None:
    """Print and record the 95th percentile in milliseconds of processor time."""
    middle, high = statistics.median(times), float(np.quantile(times, 0.95))
    with capsys.disabled():
        print(f"\n{what}: median {middle:.2f} ms, 95th percentile {high:.2f} ms, longest {max(times):.2f} ms")
    note = f"processor time, 95th percentile of {len(times)} random settings; median {middle:.2f} ms"
    record(key, high, f"< {target}", "ms", note, case=what)

"""What every benchmark may use: ``record``, which prints a number and, when asked to, keeps it for the table.

With ``GEMMA_LAB_BENCH=results.jsonl`` in the environment every number is also written there; ``make bench``
sets it and writes ``docs/benchmarks.md`` from it. Without it a benchmark only prints.
"""

from __future__ import annotations

import datetime as dt
import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from tools.bench.machine import load, machine
from tools.bench.results import Outcome, Result, append

TODAY = dt.datetime.now(tz=dt.UTC).date().isoformat()


def _file() -> Path | None:
    name = os.environ.get("GEMMA_LAB_BENCH")
    return Path(name).absolute() if name else None


@pytest.fixture
def record(request: pytest.FixtureRequest, capsys: pytest.CaptureFixture[str]) -> Callable[..., None]:
    """Return ``record(row, measured, target, unit, note, *, case="", rivals={})``.

    ``record("attention-time", 1.31, "≤ 1.5", "×", "one thread", case="4,096 tokens",
    rivals={"HF eager": "7.9 ×"})``

    `row` is a key of ``tools.bench.rows.ROWS`` or a name of its own; `target` a sign and a
    number, or "" to report only.
    Record before you assert, so that a missed target is in the table, too.
    """

    def write(
        row: str,
        measured: float,
        target: str = "",
        unit: str = "",
        note: str = "",
        *,
        case: str = "",
        rivals: Mapping[str, str] | None = None,
    ) -> None:
        result = Result(
            row=row, measured=float(measured), target=target, unit=unit, note=note, case=case,
            rivals=dict(rivals or {}), machine=machine(), date=TODAY, test=request.node.nodeid, load=load(),
        )  # fmt: skip
        with capsys.disabled():
            beside = "".join(f"; {name} {value}" for name, value in result.rivals.items())
            verdict = {True: ", holds", False: ", MISSED", None: ""}[result.met]
            sys.stdout.write(
                f"\n{row} {case}: {result.measured:.4g} {unit} "
                f"(target {target or 'none'}{verdict}){beside}  {note}\n"
            )
        if (file := _file()) is not None:
            append(file, result)

    return write


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Keep how a benchmark ended, and why it did not run or did not hold."""
    file = _file()
    if file is None or (report.passed and report.when != "call"):
        return
    if report.skipped and isinstance(report.longrepr, tuple):
        reason = str(report.longrepr[2]).removeprefix("Skipped: ")
    else:  # empty when it passed
        reason = str(report.longreprtext).strip().rpartition("\n")[2]
    append(file, Outcome(report.nodeid, report.outcome, reason, TODAY))

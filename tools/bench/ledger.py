"""The stored results of the benchmarks: newer ones replace older ones, test by test."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from .results import Outcome, Result, append, read
from .rows import ROWS
from .table import page

RESULTS, PAGE = Path("docs/benchmarks.jsonl"), Path("docs/benchmarks.md")


def merged(
    old: tuple[Sequence[Result], Sequence[Outcome]], new: tuple[Sequence[Result], Sequence[Outcome]]
) -> tuple[list[Result], list[Outcome]]:
    """Return the stored results and outcomes after a run.

    The entries of tests that ran again are replaced, those of other tests are kept. Outcomes of passed tests
    are dropped.

    Parameters
    ----------
    old, new
        Results and outcomes: the stored ones, and those of the run.
    """
    ran = {entry.test for part in new for entry in part}
    results = [result for result in old[0] if result.test not in ran] + list(new[0])
    latest = {result.key: result for result in results}
    outcomes = [entry for entry in old[1] if entry.test not in ran] + list(new[1])
    order = {row.key: number for number, row in enumerate(ROWS)}
    return (
        sorted(latest.values(), key=lambda result: order.get(result.row, len(ROWS))),
        [entry for entry in outcomes if entry.outcome != "passed"],
    )


def keep(run: Path, folder: Path) -> None:
    """Merge a run's file into a checkout's kept results, and write its page."""
    kept = folder / RESULTS
    old: tuple[list[Result], list[Outcome]] = read(kept) if kept.exists() else ([], [])
    results, outcomes = merged(old, read(run) if run.exists() else ([], []))
    kept.unlink(missing_ok=True)
    entries: list[Result | Outcome] = [*results, *outcomes]
    for entry in entries:
        append(kept, entry)
    write_page(folder)


def write_page(folder: Path) -> Path:
    """Write ``docs/benchmarks.md`` from ``docs/benchmarks.jsonl``; return where it is."""
    target = folder / PAGE
    target.write_text(page(*read(folder / RESULTS)), encoding="utf-8")
    return target

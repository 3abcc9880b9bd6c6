"""Results as a page of Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from .results import Outcome, Result
from .rows import ROWS

_HEAD = """# Benchmarks

Written by `make bench` from `docs/benchmarks.jsonl`; do not edit. Each number is of the day and the machine
beside it, and each rival was measured in the same run as the number beside it (`make rivals` installs them).
Processor time is that of one thread. *Load* is the number of runnable processes: where it exceeds the number
of cores, elapsed times mean little. **missed** means that the target was not reached.
"""
_COLUMNS = """\
| what | case | measured | target | | rivals, same run | how | date |
|---|---|---:|---:|---|---|---|---|"""


def page(results: Iterable[Result], outcomes: Iterable[Outcome] = ()) -> str:
    """Return the page: the table, the machines, what was not measured and why, and what failed.

    Parameters
    ----------
    results
        What was measured. Rows come in the order of `rows.ROWS`, further ones in that of their first result.
    outcomes
        Benchmarks that were skipped or failed.
    """
    results, outcomes = list(results), list(outcomes)
    machines = list(dict.fromkeys(result.machine for result in results))
    known = {row.key: row for row in ROWS}
    lines = [_HEAD, _COLUMNS]
    for row in ROWS:
        lines += _rows(row.title, [r for r in results if r.row == row.key], machines)
    for name in dict.fromkeys(r.row for r in results if r.row not in known):
        lines += _rows(name, [r for r in results if r.row == name], machines)
    lines += ["", "## Machines", ""]
    lines += [f"{number}. {_cell(machine) or 'not noted'}" for number, machine in enumerate(machines, 1)]
    lines += _rest("Not measured", _unmeasured(results, outcomes))
    failed = [f"`{_name(o.test)}`: {_cell(o.reason)} ({o.date})" for o in outcomes if o.outcome == "failed"]
    lines += _rest("Did not hold or did not run to the end", failed)
    return "\n".join(lines) + "\n"


def number(value: float) -> str:
    """Return a measured number as it is read: integers with commas, others with three significant digits."""
    if value == int(value) and abs(value) < 1e15:
        return f"{int(value):,}"
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def _rows(title: str, results: Sequence[Result], machines: Sequence[str]) -> list[str]:
    lines = []
    for result in results:
        which = machines.index(result.machine) + 1
        cells = [
            title,
            result.case,
            f"{number(result.measured)} {result.unit}".strip(),
            f"{result.target} {result.unit}".strip() if result.target else "reported",
            {True: "holds", False: "**missed**", None: ""}[result.met],
            "; ".join(f"{name} {value}" for name, value in result.rivals.items()),
            result.note,
            f"{result.date} [{which}]" + (f", load {result.load:g}" if result.load else ""),
        ]
        lines.append("| " + " | ".join(map(_cell, cells)) + " |")
        title = ""
    return lines


def _unmeasured(results: Sequence[Result], outcomes: Sequence[Outcome]) -> list[str]:
    measured = {result.row for result in results}
    lines = []
    for row in ROWS:
        if row.key in measured:
            continue
        own = [o for o in outcomes if _name(o.test).partition(".")[0] == f"test_{row.where}"]
        reason = "; ".join(dict.fromkeys(f"{o.outcome}: {o.reason}" for o in own)) or "was not run"
        lines.append(f"{row.title} (target {row.target}): `test_{row.where}` {_cell(reason)}")
    skipped = [o for o in outcomes if o.outcome == "skipped"]
    return lines + [f"`{_name(o.test)}`: {_cell(o.reason)} ({o.date})" for o in skipped]


def _rest(title: str, lines: Sequence[str]) -> list[str]:
    return ["", f"## {title}", "", *(f"- {line}" for line in lines)] if lines else []


def _name(test: str) -> str:
    return test.rpartition("/")[2].replace("::", " ")


def _cell(text: str) -> str:
    return " ".join(text.replace("|", "\\|").split())

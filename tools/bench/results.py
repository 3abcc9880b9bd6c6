"""Results of benchmarks, one line of JSON per result."""

from __future__ import annotations

import json
import math
import operator
import re
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from gemma_lab.errors import LabError

_SIGNS: Mapping[str, Callable[[float, float], bool]] = {
    "≤": operator.le, "<": operator.lt, "≥": operator.ge, ">": operator.gt, "=": operator.eq,
}  # fmt: skip
_TARGET = re.compile(r"(?P<sign>[≤<≥>=])\s*(?P<number>[\d.,]+(?:e-?\d+)?)")


@dataclass(frozen=True)
class Result:
    """One number of one benchmark.

    Attributes
    ----------
    row
        Row of the table: a key of `rows.ROWS`, or another name, for which a row is added below them.
    measured
        The number.
    target
        Sign and number, ``"≤ 1.5"``; empty without a target.
    unit
        Of `measured` and of the target: ``"×"``, ``"s"``, ``"MB"``.
    note
        Conditions of the measurement: model, tokens, rounds.
    case
        Name of one of several measurements of a row: ``"4,096 tokens"``.
    rivals
        Rival → its value in the same run as text (``{"HF eager": "7.9 ×"}``), or why there is none.
    machine
        The machine: the line of `machine.machine`.
    date
        The day, ISO.
    test
        Id of the test that measured it.
    load
        Number of runnable processes when it was recorded, the measuring one included; 0 where unknown.
    """

    row: str
    measured: float
    target: str = ""
    unit: str = ""
    note: str = ""
    case: str = ""
    rivals: Mapping[str, str] = field(default_factory=dict)
    machine: str = ""
    date: str = ""
    test: str = ""
    load: float = 0.0

    def __post_init__(self) -> None:
        if not math.isfinite(self.measured):
            raise LabError(f"{self.row}: {self.measured} is not a measurement.")
        if self.target and not (isinstance(self.target, str) and _TARGET.fullmatch(self.target)):
            raise LabError(
                f"{self.row}: {self.target!r} is not a target.",
                hint="Give a sign and a number, like '≤ 1.5', '≥ 0.95', '= 0'; leave it out to report only.",
            )

    @property
    def met(self) -> bool | None:
        """Whether the target is met; None without a target."""
        match = _TARGET.fullmatch(self.target)
        if match is None:
            return None
        return _SIGNS[match["sign"]](self.measured, float(match["number"].replace(",", "")))

    @property
    def key(self) -> tuple[str, str]:
        """Row and case: a newer result with the same key replaces this one."""
        return self.row, self.case


@dataclass(frozen=True)
class Outcome:
    """Outcome of a benchmark: ``"passed"``, or ``"skipped"`` or ``"failed"`` with the reason."""

    test: str
    outcome: str
    reason: str
    date: str = ""


def append(path: Path, entry: Result | Outcome) -> None:
    """Add one line to a file of results."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(asdict(entry), ensure_ascii=False) + "\n")


def read(path: Path) -> tuple[list[Result], list[Outcome]]:
    """Return a file's results and the tests that ended otherwise, in the order they were written.

    Raises
    ------
    LabError
        If a line is not one that `append` writes.
    """
    results, outcomes = [], []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        try:
            entry: dict[str, Any] = json.loads(line)
            if "row" in entry:
                results.append(Result(**entry))
            else:
                outcomes.append(Outcome(**entry))
        except (TypeError, ValueError) as error:
            raise LabError(
                f"Line {number} of {path.name} is no result of a benchmark: {error}.",
                hint="Delete the line or the file, and run `make bench` again.",
            ) from error
    return results, outcomes

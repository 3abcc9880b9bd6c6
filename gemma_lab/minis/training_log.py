"""The log that ships with a mini: every step once, after those of the training that it continues."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


def write_log(log: Path, path: Path, *, earlier: Path | None = None) -> None:
    """Write the log of a run as it ships with a mini.

    A run that was stopped between two checkpoints repeats the steps after the last one when it is resumed:
    the repeated rows replace the first ones.

    Parameters
    ----------
    log
        The run's ``log.jsonl``.
    path
        The ``training.jsonl`` to write.
    earlier
        ``training.jsonl`` of the mini that the run started from, if it is a mini of the same name. Its rows
        come first; steps and seconds count on from its last.
    """
    before = _rows(earlier) if earlier is not None else []
    steps, seconds = (before[-1]["step"], before[-1]["seconds"]) if before else (0, 0.0)
    rows = before + [
        row | {"step": row["step"] + steps, "seconds": round(row["seconds"] + seconds, 1)}
        for row in _rows(log)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def _rows(path: Path) -> list[dict[str, Any]]:
    """Return the rows of a log in the order of their steps, without those that were trained again."""
    kept: list[dict[str, Any]] = []
    for line in path.read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        while kept and kept[-1]["step"] >= row["step"]:
            kept.pop()
        kept.append(row)
    return kept

"""Groups of a step's rows that go through the model together: of similar length, under one sliding window."""

from __future__ import annotations

from .curriculum import ROW
from .encoding import Row

_FAR = ("recall", "tools", "retold", "asked", "pairs", "called")
"""Skills and drills where something is to be looked up."""
_LENGTHS = (200, ROW)  # most tokens of the rows that are padded together


def by_window(rows: list[Row], window: int | None) -> list[tuple[list[Row], int | None]]:
    """Separate the rows that require retrieval, and return them with their sliding windows."""
    if window is None:
        return [(rows, None)]
    far = [row for row in rows if row.skill in _FAR]
    near = [row for row in rows if row.skill not in _FAR]
    return [(part, wide) for part, wide in ((far, window), (near, None)) if part]


def by_length(rows: list[Row]) -> list[list[Row]]:
    """Return rows in up to three batches, so that a few long ones do not pad all others."""
    parts: dict[int, list[Row]] = {}
    for row in rows:
        parts.setdefault(sum(len(row.ids) > most for most in _LENGTHS), []).append(row)
    return list(parts.values())

"""Documented changes from Gemma 3 27B to Gemma 4 31B, the model nearest to it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ..display import Displayed
from .sources import Source, read_data, source


@dataclass(frozen=True)
class Change:
    """One difference: its subject, the value in Gemma 3 27B, the value in Gemma 4 31B, and the source."""

    what: str
    before: str
    after: str
    before_source: Source
    after_source: Source

    def __repr__(self) -> str:
        return f"Change({self.what}: {self.before} → {self.after})"


@dataclass(frozen=True)
class Changes(Displayed):
    """The table of `changes_since_gemma3`: one row per documented change."""

    rows: tuple[Change, ...]

    def __repr__(self) -> str:
        return f"Changes({len(self.rows)} from Gemma 3 27B to Gemma 4 31B)"

    def to_dict(self) -> dict[str, Any]:
        """Return the table as plain data."""
        return {
            "changes": [
                {
                    "what": row.what,
                    "before": row.before,
                    "after": row.after,
                    "sources": [row.before_source.title, row.after_source.title],
                }
                for row in self.rows
            ]
        }


def changes_since_gemma3() -> Changes:
    """Return the documented changes from Gemma 3 27B to Gemma 4 31B."""
    return Changes(
        tuple(
            Change(
                what=row["what"],
                before=row["before"],
                after=row["after"],
                before_source=source(row["before_source"]),
                after_source=source(row["after_source"]),
            )
            for row in read_data("changes.json")
        )
    )

"""Read the shipped facts: measured runs, hardware, prices and fitted constants."""

from __future__ import annotations

import csv
import json
from difflib import get_close_matches
from functools import cache
from typing import TYPE_CHECKING, Any

from ..assets import data_path
from ..checks import short_repr
from ..errors import LabError

if TYPE_CHECKING:
    from collections.abc import Iterable


_LISTED = 24
"""Known names that an error lists at most."""


@cache
def read_rows(name: str) -> tuple[dict[str, str], ...]:
    """Return the rows of one CSV file of ``data/planning``, e.g. ``"hardware.csv"``."""
    with data_path(f"planning/{name}").open(encoding="utf-8", newline="") as file:
        return tuple(csv.DictReader(file))


@cache
def read_facts(name: str) -> Any:
    """Return the parsed JSON of one file of ``data/planning``, e.g. ``"constants.json"``."""
    return json.loads(data_path(f"planning/{name}").read_text(encoding="utf-8"))


def number(cell: str) -> float | None:
    """Return the number in a CSV cell, or None for an empty one."""
    return float(cell) if cell.strip() else None


def normalized(name: str) -> str:
    """Return a name in lower case without spaces, hyphens, underscores and dots, to compare names by."""
    return "".join(letter for letter in name.lower() if letter not in " -_.()")


def unknown(kind: str, name: object, known: Iterable[str], *, hint: str = "") -> LabError:
    """Return the error for a name that is not known, with the nearest known names.

    Parameters
    ----------
    kind
        What is named, e.g. ``"hardware"``.
    name
        The name that was given.
    known
        The names that exist.
    hint
        What to do if none of them is meant.
    """
    by_key = {normalized(each): each for each in known}
    key = normalized(str(name)[:100])
    close = [each for each in by_key if key and (key in each or each in key)]
    close += get_close_matches(key, by_key, n=8, cutoff=0.5)
    close.sort(key=lambda each: -_same_start(key, each))
    names = [by_key[each] for each in dict.fromkeys(close)][:3]
    listed = list(by_key.values())
    more = f", and {len(listed) - _LISTED} more" if len(listed) > _LISTED else ""
    nearest = f"Near names: {', '.join(names)}." if names else f"Known: {', '.join(listed[:_LISTED])}{more}."
    return LabError(f"No {kind} is called {short_repr(name)}.", hint=f"{nearest} {hint}".strip())


def _same_start(one: str, other: str) -> int:
    """Return how many letters two texts have in common at their start."""
    pairs = zip(one, other, strict=False)
    return next((place for place, (a, b) in enumerate(pairs) if a != b), min(len(one), len(other)))

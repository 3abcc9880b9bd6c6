"""Sources of the figures in the data files."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

DATA = Path(__file__).parent / "data"

Kind = Literal["official", "code", "third-party", "computed"]


@dataclass(frozen=True)
class Source:
    """One source of figures.

    Attributes
    ----------
    key
        Short name by which the data files refer to it.
    title
        Description, and the copy that was read.
    url
        Where it can be read, or ``""`` for what was computed here.
    kind
        ``"official"`` (written by Google), ``"code"`` (read in a published implementation),
        ``"third-party"``, or ``"computed"`` (follows from the configuration).
    """

    key: str
    title: str
    url: str
    kind: Kind

    @property
    def label(self) -> str:
        """The title, marked when neither Google nor a published implementation is behind it."""
        return f"{self.title} [third-party]" if self.kind == "third-party" else self.title


def read_data(name: str) -> Any:
    """Return the parsed JSON of one file of ``family/data``, e.g. ``"benchmarks.json"``."""
    return json.loads((DATA / name).read_text(encoding="utf-8"))


@cache
def source(key: str) -> Source:
    """Return the source with this key.

    Raises
    ------
    KeyError
        If ``sources.json`` has none. A figure with an unknown source is an error in the data.
    """
    return Source(key=key, **read_data("sources.json")[key])

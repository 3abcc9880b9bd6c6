"""Outcomes of a drafter's proposals, as a trace's meta has them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def drafted_tokens(meta: Any, count: int) -> list[bool | None] | None:
    """Return the outcomes in a trace's meta for its `count` generated tokens; None if there are none.

    Parameters
    ----------
    meta
        Of a trace, which may come from a file: what does not fit is left out.
    count
        Generated tokens of the trace.
    """
    noted = meta.get("drafter") if isinstance(meta, Mapping) else None
    outcomes = noted.get("drafted") if isinstance(noted, Mapping) else None
    if not isinstance(outcomes, list) or len(outcomes) != count:
        return None
    return outcomes if all(one is None or isinstance(one, bool) for one in outcomes) else None

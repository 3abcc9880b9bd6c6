"""Default HTML view of a result: its summary line, and the first rows of its table."""

from __future__ import annotations

from numbers import Integral, Real
from typing import Any

from .html import Markup, bdi, table
from .text import visible

_MAX_ROWS = 10


def frame_html(result: Any) -> Markup:
    """Return the ``repr`` of a result as the caption of the first rows of its ``to_pandas()``."""
    frame = result.to_pandas()
    rows = [[_cell(value) for value in row] for row in frame.head(_MAX_ROWS).itertuples(index=False)]
    sides = ["r" if kind.kind in "iuf" else "l" for kind in frame.dtypes]
    left = len(frame) - len(rows)
    notes = [f"{left:,} more rows: to_pandas()."] if left > 0 else []
    columns = [str(name).replace("_", " ") for name in frame.columns]
    return table(rows, columns=columns, caption=visible(repr(result)), align="".join(sides), notes=notes)


def _cell(value: Any) -> object:
    if isinstance(value, Integral):
        return str(bool(value)) if type(value).__name__.startswith("bool") else f"{int(value):,}"
    if isinstance(value, Real):
        return f"{float(value):.4g}"
    return bdi(visible(str(value)))

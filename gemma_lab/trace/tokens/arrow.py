"""The token table as Arrow columns, and back with every column checked."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ...errors import BadTrace
from .kinds import MODALITIES
from .roles import ROLES
from .scripts import DIRECTIONS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray
    from pyarrow import Table

#: column -> (attribute of the token table, column of that attribute, Arrow type)
_COLUMNS = {
    "id": ("ids", None, "int32"), "piece": ("pieces", None, "string"), "text": ("texts", None, "string"),
    "start": ("starts", None, "int32"), "end": ("ends", None, "int32"),
    "cluster": ("clusters", None, "int32"), "role": ("roles", None, "string"),
    "modality": ("modalities", None, "string"), "media_index": ("media_index", None, "int16"),
    "x0": ("boxes", 0, "int32"), "y0": ("boxes", 1, "int32"), "x1": ("boxes", 2, "int32"),
    "y1": ("boxes", 3, "int32"), "t0_ms": ("times", 0, "int32"), "t1_ms": ("times", 1, "int32"),
    "frame": ("frames", None, "int16"), "script": ("scripts", None, "string"),
    "direction": ("directions", None, "string"), "generated": ("generated", None, "bool"),
}  # fmt: skip
_ALLOWED = {"role": ROLES, "modality": MODALITIES, "direction": DIRECTIONS}


def strings(values: Sequence[str]) -> NDArray[np.object_]:
    """Return texts as a numpy column of Python strings, ``(rows,)``."""
    column = np.empty(len(values), dtype=object)
    column[:] = values
    return column


def write_columns(tokens: Any) -> Table:
    """Return the rows of a `TokenTable` as a ``pyarrow.Table``."""
    import pyarrow as pa

    columns = {}
    for name, (attribute, part, kind) in _COLUMNS.items():
        values = getattr(tokens, attribute)
        columns[name] = pa.array(values if part is None else values[:, part], type=kind)
    return pa.table(columns)


def read_columns(table: Table) -> dict[str, NDArray[Any]]:
    """Return the attributes of a `TokenTable`, ``starts`` and ``ends`` among them, from Arrow columns.

    Raises
    ------
    BadTrace
        If a column is missing, of another type, has empty cells or words that mean nothing.
    """
    values: dict[str, Any] = {}
    for name, (attribute, part, kind) in _COLUMNS.items():
        column = _checked(table, name, kind)
        if part is None:
            values[attribute] = column
        else:
            values.setdefault(attribute, []).append(column)
    return values | {name: np.stack(values[name], axis=-1) for name in ("boxes", "times")}


def contradiction(what: str) -> BadTrace:
    """Return the error for a table whose columns do not go together."""
    return BadTrace(f"The token table contradicts itself: {what}.", hint="Save the trace again.")


def _checked(table: Table, name: str, kind: str) -> NDArray[Any]:
    if name not in table.column_names:
        raise BadTrace(f"The token table has no column {name!r}.", hint=f"It needs: {', '.join(_COLUMNS)}.")
    column = table.column(name)
    if str(column.type) != kind:
        raise BadTrace(
            f"Column {name!r} of the token table is {column.type}; it must be {kind}.",
            hint="Read the file with gemma_lab.open_trace, or save the trace again.",
        )
    if column.null_count:
        raise contradiction(f"column {name!r} has {column.null_count:,} empty cells")
    values: NDArray[Any] = strings(column.to_pylist()) if kind == "string" else column.to_numpy()
    allowed = _ALLOWED.get(name)
    if allowed is not None and not set(values) <= set(allowed):
        odd = min(set(values) - set(allowed))
        raise contradiction(f"column {name!r} holds {odd[:40]!r}, not one of {', '.join(map(repr, allowed))}")
    return values

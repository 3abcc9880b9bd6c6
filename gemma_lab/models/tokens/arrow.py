"""The token table as Arrow columns, and the conditions that its columns meet."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ...checks import has_surrogate
from ...errors import BadTrace
from .kinds import MODALITIES
from .roles import ROLES
from .scripts import DIRECTIONS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray
    from pyarrow import Table

#: Arrow column -> (attribute of the token table, column of that attribute, Arrow type)
_COLUMNS = {
    "id": ("ids", None, "int32"),
    "piece": ("pieces", None, "string"),
    "text": ("texts", None, "string"),
    "start": ("starts", None, "int32"),
    "end": ("ends", None, "int32"),
    "cluster": ("clusters", None, "int32"),
    "role": ("roles", None, "string"),
    "modality": ("modalities", None, "string"),
    "media_index": ("media_index", None, "int16"),
    "x0": ("boxes", 0, "int32"),
    "y0": ("boxes", 1, "int32"),
    "x1": ("boxes", 2, "int32"),
    "y1": ("boxes", 3, "int32"),
    "t0_ms": ("times", 0, "int32"),
    "t1_ms": ("times", 1, "int32"),
    "frame": ("frames", None, "int16"),
    "script": ("scripts", None, "string"),
    "direction": ("directions", None, "string"),
    "generated": ("generated", None, "bool"),
}
_ALLOWED = {"roles": ROLES, "modalities": MODALITIES, "directions": DIRECTIONS}
_TEXTS = ("pieces", "texts", "scripts")


def strings(values: Sequence[str]) -> NDArray[np.object_]:
    """Return texts as a NumPy column of Python strings, ``(rows,)``."""
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
        If a column is missing, of another type, or has empty cells.
    """
    values: dict[str, Any] = {}
    for name, (attribute, part, kind) in _COLUMNS.items():
        column = _read_column(table, name, kind)
        if part is None:
            values[attribute] = column
        else:
            values.setdefault(attribute, []).append(column)
    return values | {name: np.stack(values[name], axis=-1) for name in ("boxes", "times")}


def check_columns(tokens: Any) -> None:
    """Raise `BadTrace` unless the columns of a `TokenTable` have one length and hold possible values.

    Boxes, times, frames and media indices are −1 where they mean nothing; otherwise boxes are not empty.
    Clusters ascend.
    """
    for name in tokens.__dataclass_fields__:
        if len(getattr(tokens, name)) != len(tokens):
            raise contradiction(f"{name} has {len(getattr(tokens, name)):,} rows, ids {len(tokens):,}")
    for name, allowed in _ALLOWED.items():
        if odd := set(getattr(tokens, name)) - set(allowed):
            raise contradiction(f"{name} has {min(map(repr, odd))[:40]}, not {', '.join(map(repr, allowed))}")
    for name in _TEXTS:
        if any(has_surrogate(text) for text in set(getattr(tokens, name))):
            raise contradiction(f"{name} has half a surrogate pair, which is not text")
    clusters, (x0, y0, x1, y1), (start, end) = tokens.clusters, tokens.boxes.T, tokens.times.T
    no_box, no_time = (tokens.boxes == -1).all(axis=1), (tokens.times == -1).all(axis=1)
    conditions = {
        "a token id is negative": tokens.ids >= 0,
        "a cluster is smaller than the one before": np.diff(clusters, prepend=clusters[:1].clip(0)) >= 0,
        "a media index is less than -1": tokens.media_index >= -1,
        "a frame is less than -1": tokens.frames >= -1,
        "a box is negative or empty": no_box | ((x0 >= 0) & (y0 >= 0) & (x1 > x0) & (y1 > y0)),
        "a time is negative": no_time | ((start >= 0) & (end >= 0)),
    }
    for what, met in conditions.items():
        if not met.all():
            raise contradiction(f"{what} in row {int(np.argmin(met)):,}")


def contradiction(what: str) -> BadTrace:
    """Return the error for a table whose columns cannot be a token table."""
    return BadTrace(f"The token table contradicts itself: {what}.", hint="Trace again, or save it again.")


def _read_column(table: Table, name: str, kind: str) -> NDArray[Any]:
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
    return values

"""A lens as tables: how a trace file holds it, and what other programs read of it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa

from ..records.logit_lens import MOST_TARGETS, MOST_TOP, LogitLens
from .container import Archive
from .parquet import read_table

LENS = pa.schema(
    [("layer", pa.int32()), ("token", pa.int32()), ("rank", pa.int16()), ("id", pa.int32()),
     ("word", pa.string()), ("logprob", pa.float32())]
)  # fmt: skip
TARGETS = pa.schema(
    [("layer", pa.int32()), ("token", pa.int32()), ("target", pa.int16()), ("id", pa.int32()),
     ("word", pa.string()), ("rank", pa.int32()), ("logprob", pa.float32())]
)  # fmt: skip
#: The tables, by the names of their members.
SCHEMAS = {"logit_lens": LENS, "logit_lens_targets": TARGETS}
_MOST_LAYERS, _MOST_POSITIONS = 1 << 12, 1 << 22

Array = np.ndarray[Any, np.dtype[Any]]


def lens_tables(logit_lens: LogitLens) -> dict[str, pa.Table]:
    """Return a lens as two tables.

    ``logit_lens``
        One row a token that is among the likeliest: layer, token (its row in ``tokens``), rank (0: the
        likeliest), id, word, and log-probability in nats.
    ``logit_lens_targets``
        One row a followed token: layer, token, target (0: the last layer's choice there), id, word, rank (how
        many are likelier) and log-probability.
    """
    followed = np.broadcast_to(logit_lens.target_ids, logit_lens.ranks.shape)
    return {
        "logit_lens": _table(LENS, logit_lens, logit_lens.top, logit_lens.ids, [logit_lens.logprobs]),
        "logit_lens_targets": _table(
            TARGETS, logit_lens, followed.shape[2], followed, [logit_lens.ranks, logit_lens.target_logprobs]
        ),
    }


def _table(
    schema: pa.Schema, logit_lens: LogitLens, width: int, ids: Array, numbers: list[Array]
) -> pa.Table:
    layer, token, place = _places(logit_lens.layers, logit_lens.positions, width)
    words = [logit_lens.token_texts[index] for index in ids.reshape(-1).tolist()]
    columns = [layer, token, place, ids.reshape(-1), words, *(each.reshape(-1) for each in numbers)]
    return pa.table([pa.array(column) for column in columns], schema=schema)


def _places(layers: tuple[int, ...], positions: Array, width: int) -> tuple[Array, Array, Array]:
    """Return layer, token and place of each row of a table."""
    rows, count = len(layers), len(positions)
    return (
        np.repeat(np.asarray(layers, dtype=np.int32), count * width),
        np.tile(np.repeat(np.asarray(positions, dtype=np.int32), width), rows),
        np.tile(np.arange(width, dtype=np.int16), rows * count),
    )


def lens_entry(logit_lens: LogitLens) -> dict[str, Any]:
    """Return what a manifest says of a lens."""
    return {
        "layers": list(logit_lens.layers), "positions": len(logit_lens), "top": logit_lens.top,
        "targets": int(logit_lens.target_ids.shape[1]),
    }  # fmt: skip


def read_lens(archive: Archive, entry: Any) -> LogitLens:
    """Return the lens of a trace file.

    Raises
    ------
    BadTrace
        If its tables are not those that `entry` describes.
    """
    entry = entry if isinstance(entry, dict) else {}
    layers, count, top, n = (entry.get(key) for key in ("layers", "positions", "top", "targets"))
    numbers: list[Any] = layers if isinstance(layers, list) else [None]
    if not all(type(each) is int and each >= 0 for each in [*numbers, count, top, n]):
        raise archive.bad("its manifest does not describe a lens")
    if not (
        len(numbers) <= _MOST_LAYERS
        and count <= _MOST_POSITIONS
        and 1 <= top <= MOST_TOP
        and 1 <= n <= MOST_TARGETS + 1
    ):
        raise archive.bad("its lens is larger than any")
    rows = tuple(numbers)
    best = _columns(archive, "logit_lens", len(rows) * count * top)
    followed = _columns(archive, "logit_lens_targets", len(rows) * count * n)
    positions = best["token"][: count * top : top]
    for table, width, name in ((best, top, "rank"), (followed, n, "target")):
        layer, token, place = _places(rows, positions, width)
        told = (table["layer"], table["token"], table[name])
        if not all(np.array_equal(a, b) for a, b in zip(told, (layer, token, place), strict=True)):
            raise archive.bad("its lens is not in its order")
    targets = followed["id"].reshape(len(rows), count, n)
    if (targets != targets[:1]).any():
        raise archive.bad("its lens follows other tokens in other layers")
    words = {**_words(followed), **_words(best)}
    return LogitLens(
        layers=rows, positions=positions, ids=best["id"].reshape(len(rows), count, top),
        logprobs=best["logprob"].reshape(len(rows), count, top), target_ids=targets[0],
        ranks=followed["rank"].reshape(len(rows), count, n),
        target_logprobs=followed["logprob"].reshape(len(rows), count, n), token_texts=words,
    )  # fmt: skip


def _columns(archive: Archive, name: str, rows: int) -> dict[str, Any]:
    table = read_table(archive, name, schema=SCHEMAS[name], rows=rows)
    if any(column.null_count for column in table.columns):
        raise archive.bad("a table of its lens has empty cells")
    return {
        each: table.column(each).to_pylist() if each == "word" else table.column(each).to_numpy()
        for each in table.column_names
    }


def _words(table: dict[str, Any]) -> dict[int, str]:
    return dict(zip(table["id"].tolist(), table["word"], strict=True))

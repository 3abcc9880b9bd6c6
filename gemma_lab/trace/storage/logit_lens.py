"""Logit lens tables: how a trace file holds a `LogitLens`, and what other programs read of it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa

from ..records.logit_lens import LogitLens
from .container import Archive
from .parquet import read_columns
from .schema import LogitLensPart

LENS = pa.schema(
    [
        ("layer", pa.int32()),
        ("token", pa.int32()),
        ("rank", pa.int16()),
        ("id", pa.int32()),
        ("text", pa.string()),
        ("logprob", pa.float32()),
    ]
)
TARGETS = pa.schema(
    [
        ("layer", pa.int32()),
        ("token", pa.int32()),
        ("target", pa.int16()),
        ("id", pa.int32()),
        ("text", pa.string()),
        ("rank", pa.int32()),
        ("logprob", pa.float32()),
    ]
)
#: The tables, by the names of their members.
SCHEMAS = {"logit_lens": LENS, "logit_lens_targets": TARGETS}

Array = np.ndarray[Any, np.dtype[Any]]


def logit_lens_tables(lens: LogitLens) -> dict[str, pa.Table]:
    """Return a logit lens as two tables.

    ``logit_lens``
        One row per recorded token: layer, token (the row in ``tokens``), rank (0: the likeliest), id, text,
        and log-probability in nats.
    ``logit_lens_targets``
        One row per followed token: layer, token, target (0: the last layer's choice there), id, text, rank
        (how many tokens are likelier) and log-probability.
    """
    targets = np.broadcast_to(lens.target_ids, lens.ranks.shape)
    return {
        "logit_lens": _table(LENS, lens, lens.ids, [lens.logprobs]),
        "logit_lens_targets": _table(TARGETS, lens, targets, [lens.ranks, lens.target_logprobs]),
    }


def _table(schema: pa.Schema, lens: LogitLens, ids: Array, numbers: list[Array]) -> pa.Table:
    keys = _key_columns(lens.layers, lens.positions, ids.shape[2])
    texts = [lens.token_texts[index] for index in ids.reshape(-1).tolist()]
    columns = [*keys, ids.reshape(-1), texts, *(each.reshape(-1) for each in numbers)]
    return pa.table([pa.array(column) for column in columns], schema=schema)


def _key_columns(layers: tuple[int, ...], positions: Array, width: int) -> tuple[Array, Array, Array]:
    """Return layer, token, and number among the `width` tokens, of each row of a table."""
    return (
        np.repeat(np.asarray(layers, dtype=np.int32), len(positions) * width),
        np.tile(np.repeat(np.asarray(positions, dtype=np.int32), width), len(layers)),
        np.tile(np.arange(width, dtype=np.int16), len(layers) * len(positions)),
    )


def logit_lens_part(lens: LogitLens) -> LogitLensPart:
    """Return what the manifest states about a logit lens."""
    return LogitLensPart(
        layers=lens.layers, positions=len(lens), top=lens.top, targets=int(lens.target_ids.shape[1]),
        kind=lens.kind,
    )  # fmt: skip


def read_logit_lens(archive: Archive, part: LogitLensPart) -> LogitLens:
    """Return the logit lens of a trace file.

    Raises
    ------
    BadTrace
        If its tables are not those that `part` describes.
    """
    layers, count, top, targets = part.layers, part.positions, part.top, part.targets
    best = read_columns(archive, "logit_lens", schema=LENS, rows=len(layers) * count * top)
    followed = read_columns(archive, "logit_lens_targets", schema=TARGETS, rows=len(layers) * count * targets)
    positions = best["token"][: count * top : top]
    for table, width, name in ((best, top, "rank"), (followed, targets, "target")):
        expected = _key_columns(layers, positions, width)
        found = (table["layer"], table["token"], table[name])
        if not all(np.array_equal(one, other) for one, other in zip(found, expected, strict=True)):
            raise archive.bad("the rows of its logit lens are not in order")
    target_ids = followed["id"].reshape(len(layers), count, targets)
    if (target_ids != target_ids[:1]).any():
        raise archive.bad("its logit lens follows other tokens in other layers")
    return LogitLens(
        layers=layers,
        positions=positions,
        ids=best["id"].reshape(len(layers), count, top),
        logprobs=best["logprob"].reshape(len(layers), count, top),
        target_ids=target_ids[0],
        ranks=followed["rank"].reshape(len(layers), count, targets),
        target_logprobs=followed["logprob"].reshape(len(layers), count, targets),
        token_texts={**_texts(followed), **_texts(best)},
        kind=part.kind,
    )


def _texts(table: dict[str, Any]) -> dict[int, str]:
    return dict(zip(table["id"].tolist(), table["text"].tolist(), strict=True))

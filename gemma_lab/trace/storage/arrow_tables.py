"""A trace's tables, for whatever reads Arrow or Parquet: pandas, DuckDB, Polars, R, …."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from ..records.attention import Attention
    from ..records.routing import Routing
    from ..tokens.table import TokenTable
    from ..trace import Trace

TOKENS = pa.schema(
    [("token", pa.int32()), ("id", pa.int32()), ("piece", pa.string()), ("text", pa.string()),
     ("start", pa.int32()), ("end", pa.int32()), ("cluster", pa.int32()), ("role", pa.string()),
     ("modality", pa.string()), ("media_index", pa.int16()), ("x0", pa.int32()), ("y0", pa.int32()),
     ("x1", pa.int32()), ("y1", pa.int32()), ("t0_ms", pa.int32()), ("t1_ms", pa.int32()),
     ("frame", pa.int16()), ("script", pa.string()), ("direction", pa.string()), ("generated", pa.bool_())]
)  # fmt: skip
ROUTING = pa.schema(
    [("layer", pa.int32()), ("token", pa.int32()), ("rank", pa.int16()), ("expert", pa.int32()),
     ("weight", pa.float32())]
)  # fmt: skip
ATTENTION = pa.schema(
    [("layer", pa.int32()), ("head", pa.int32()), ("token", pa.int32()), ("rank", pa.int16()),
     ("key", pa.int32()), ("weight", pa.float32())]
)  # fmt: skip
GENERATION = pa.schema(
    [("position", pa.int32()), ("token", pa.int32()), ("id", pa.int32()), ("logprob", pa.float32()),
     ("entropy", pa.float32())]
)  # fmt: skip
ALTERNATIVES = pa.schema(
    [("position", pa.int32()), ("rank", pa.int16()), ("id", pa.int32()), ("logprob", pa.float32())]
)


def arrow_tables(trace: Trace) -> dict[str, pa.Table]:
    """Return the tables of a trace by name; those it has nothing for are left out.

    ``tokens``
        One row a token: its number, and the columns of `TokenTable.to_arrow`.
    ``routing``
        One row an expert chosen: layer, token, rank (0: the largest share), expert, and the weight really
        applied.
    ``attention``
        One row a key that is among those a row looks at most: layer, head, token (the query), rank (0: the
        largest weight), key (a row of ``tokens``) and weight.
    ``generation``
        One row a generated token: position (0: the first), token (its row in ``tokens``; −1 for the last one,
        which the model did not read), id, log-probability and entropy in nats.
    ``top_logprobs``
        One row a candidate: position, rank (0: the likeliest), id, log-probability in nats.
    ``logit_lens``, ``logit_lens_targets``
        See `gemma_lab.trace.storage.logit_lens.lens_tables`.
    """
    tables = stored_tables(trace)
    if trace.routing is not None:
        layers = list(_routing_rows(trace.routing))
        rows = pa.concat_tables(layers) if layers else ROUTING.empty_table()
        tables = {"tokens": tables.pop("tokens"), "routing": rows, **tables}
    if trace.attention is not None and trace.attention.top_k:
        tables["attention"] = pa.concat_tables(_attention_rows(trace.attention))
    return tables


def stored_tables(trace: Trace) -> dict[str, pa.Table]:
    """Return the tables of `arrow_tables` but ``routing``, which a trace file holds as arrays."""
    number = pa.array(np.arange(len(trace.tokens), dtype=np.int32))
    tables = {"tokens": trace.tokens.to_arrow().add_column(0, "token", number).cast(TOKENS)}
    if trace.logit_lens is not None:
        from .logit_lens import lens_tables

        tables |= lens_tables(trace.logit_lens)
    generation = trace.generation
    if generation is None:
        return tables
    n, a = generation.alternative_ids.shape
    position = np.arange(n, dtype=np.int32)
    chosen = [
        position, generated_rows(trace.tokens, n), generation.ids, generation.logprobs, generation.entropy,
    ]  # fmt: skip
    others = [
        np.repeat(position, a), np.tile(np.arange(a, dtype=np.int16), n),
        generation.alternative_ids.reshape(-1), generation.alternative_logprobs.reshape(-1),
    ]  # fmt: skip
    tables["generation"] = pa.table([pa.array(column) for column in chosen], schema=GENERATION)
    tables["top_logprobs"] = pa.table([pa.array(column) for column in others], schema=ALTERNATIVES)
    return tables


def generated_rows(tokens: TokenTable, count: int) -> NDArray[np.int32]:
    """Return the row of each of `count` generated tokens in the token table, −1 where there is none."""
    rows = np.full(count, -1, dtype=np.int32)
    known = np.flatnonzero(tokens.generated)[:count]
    rows[: len(known)] = known
    return rows


def _routing_rows(routing: Routing) -> Iterator[pa.Table]:
    tokens, k = len(routing), routing.top_k
    token = np.repeat(np.arange(tokens, dtype=np.int32), k)
    rank = np.tile(np.arange(k, dtype=np.int16), tokens)
    for layer in routing.layers:
        alone = routing.layer(layer)
        columns = [
            np.full(tokens * k, layer, dtype=np.int32), token, rank,
            alone.ids.astype(np.int32).reshape(-1), alone.weights.reshape(-1),
        ]  # fmt: skip
        yield pa.table([pa.array(column) for column in columns], schema=ROUTING)


def _attention_rows(attention: Attention) -> Iterator[pa.Table]:
    tokens, k = len(attention), attention.top_k
    token = np.repeat(np.arange(tokens, dtype=np.int32), k)
    rank = np.tile(np.arange(k, dtype=np.int16), tokens)
    for layout in attention.layers:
        keys, weights = attention.top_keys(layout.layer)
        for number, head in enumerate(attention.heads):
            there = keys[number].reshape(-1) >= 0
            columns = [
                np.full(int(there.sum()), layout.layer, dtype=np.int32),
                np.full(int(there.sum()), head, dtype=np.int32), token[there], rank[there],
                keys[number].reshape(-1)[there], weights[number].reshape(-1)[there],
            ]  # fmt: skip
            yield pa.table([pa.array(column) for column in columns], schema=ATTENTION)


def write_parquet(trace: Trace, folder: str | Path) -> list[Path]:
    """Write a trace's tables as Parquet files that any tool reads, the routing layer by layer.

    Parameters
    ----------
    trace
        The trace.
    folder
        Made if it does not exist. It gets ``tokens.parquet``, ``routing.parquet``, ….

    Returns
    -------
    list of Path
    """
    target = Path(folder).expanduser()
    target.mkdir(parents=True, exist_ok=True)
    tables = stored_tables(trace)
    for name, table in tables.items():
        pq.write_table(table, target / f"{name}.parquet")
    if trace.routing is not None:
        with pq.ParquetWriter(target / "routing.parquet", ROUTING) as file:
            for rows in _routing_rows(trace.routing):
                file.write_table(rows)
        tables["routing"] = ROUTING
    if trace.attention is not None and trace.attention.top_k:
        with pq.ParquetWriter(target / "attention.parquet", ATTENTION) as file:
            for rows in _attention_rows(trace.attention):
                file.write_table(rows)
        tables["attention"] = ATTENTION
    return [target / f"{name}.parquet" for name in tables]

"""The tables of a trace, for programs that read Arrow or Parquet: pandas, DuckDB, Polars, R, …."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from ...files import make_folder

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from ...models.tokens.table import TokenTable
    from ..records.attention import Attention
    from ..records.features import Features
    from ..records.routing import Routing
    from ..records.trace_records import TraceRecords

_TYPES = {"i16": pa.int16(), "i32": pa.int32(), "f32": pa.float32(), "text": pa.string(), "bool": pa.bool_()}


def _schema(columns: str) -> pa.Schema:
    return pa.schema(
        [(name, _TYPES[kind]) for name, kind in (column.split(":") for column in columns.split())]
    )


TOKENS = _schema(
    "token:i32 id:i32 piece:text text:text start:i32 end:i32 cluster:i32 role:text modality:text "
    "media_index:i16 x0:i32 y0:i32 x1:i32 y1:i32 t0_ms:i32 t1_ms:i32 frame:i16 script:text direction:text "
    "generated:bool"
)
ROUTING = _schema("layer:i32 token:i32 rank:i16 expert:i32 weight:f32")
ATTENTION = _schema("layer:i32 head:i32 token:i32 rank:i16 key:i32 weight:f32")
FEATURES = _schema("layer:i32 token:i32 rank:i16 feature:i32 activation:f32")
GENERATION = _schema(
    "position:i32 token:i32 id:i32 logprob:f32 entropy:f32 forbidden:f32 first_choice:i32 overruled:bool"
)
ALTERNATIVES = _schema("position:i32 rank:i16 id:i32 logprob:f32")


def arrow_tables(trace: TraceRecords) -> dict[str, pa.Table]:
    """Return the tables of a trace by name, without those of parts that it does not have.

    ``tokens``
        One row per token: its number, and the columns of `TokenTable.to_arrow`.
    ``routing``
        One row per chosen expert: layer, token, rank (0: the largest gate weight), expert, and the weight
        applied to its output.
    ``attention``
        One row per top key: layer, head, token (the query), rank (0: the largest weight), key (a row of
        ``tokens``) and weight.
    ``features``
        One row per recorded feature of an SAE: layer, token, rank (0: the strongest), feature and activation.
        Its fit is not in it: `Features.variance_explained`.
    ``generation``
        One row per generated token: position (0: the first), token (its row in ``tokens``; −1 for the last
        one, which the model did not read), id, log-probability and entropy in nats; with a grammar the
        forbidden probability, the model's first choice and whether it was overruled (NaN, −1, false without).
    ``top_logprobs``
        One row per alternative: position, rank (0: the likeliest), id, log-probability in nats.
    ``logit_lens``, ``logit_lens_targets``
        See `gemma_lab.trace.storage.logit_lens.logit_lens_tables`.
    """
    tables = stored_tables(trace)
    if trace.routing is not None:
        layers = list(_routing_rows(trace.routing))
        rows = pa.concat_tables(layers) if layers else ROUTING.empty_table()
        tables = {"tokens": tables.pop("tokens"), "routing": rows, **tables}
    if trace.attention is not None and trace.attention.top_k:
        tables["attention"] = pa.concat_tables(_attention_rows(trace.attention))
    if trace.features is not None:
        tables["features"] = _feature_rows(trace.features)
    return tables


def stored_tables(trace: TraceRecords) -> dict[str, pa.Table]:
    """Return the tables that a trace file holds; routing and attention are arrays there."""
    number = pa.array(np.arange(len(trace.tokens), dtype=np.int32))
    tables = {"tokens": trace.tokens.to_arrow().add_column(0, "token", number).cast(TOKENS)}
    if trace.logit_lens is not None:
        from .logit_lens import logit_lens_tables

        tables |= logit_lens_tables(trace.logit_lens)
    generation = trace.generation
    if generation is None:
        return tables
    n, a = generation.alternative_ids.shape
    position = np.arange(n, dtype=np.int32)
    chosen = [
        position,
        generated_rows(trace.tokens, n),
        generation.ids,
        generation.logprobs,
        generation.entropy,
        generation.forbidden,
        generation.first_choice_ids,
        generation.overruled,
    ]
    others = [
        np.repeat(position, a),
        np.tile(np.arange(a, dtype=np.int16), n),
        generation.alternative_ids.reshape(-1),
        generation.alternative_logprobs.reshape(-1),
    ]
    tables["generation"] = pa.table([pa.array(column) for column in chosen], schema=GENERATION)
    tables["top_logprobs"] = pa.table([pa.array(column) for column in others], schema=ALTERNATIVES)
    return tables


def generated_rows(tokens: TokenTable, count: int) -> NDArray[np.int32]:
    """Return the row of each of `count` generated tokens in the token table, −1 for those without one."""
    rows = np.full(count, -1, dtype=np.int32)
    known = np.flatnonzero(tokens.generated)[:count]
    rows[: len(known)] = known
    return rows


def _routing_rows(routing: Routing) -> Iterator[pa.Table]:
    tokens, k = len(routing), routing.top_k
    token = np.repeat(np.arange(tokens, dtype=np.int32), k)
    rank = np.tile(np.arange(k, dtype=np.int16), tokens)
    for layer in routing.layers:
        part = routing.layer(layer)
        columns = [
            np.full(tokens * k, layer, dtype=np.int32),
            token,
            rank,
            part.ids.astype(np.int32).reshape(-1),
            part.weights.reshape(-1),
        ]
        yield pa.table([pa.array(column) for column in columns], schema=ROUTING)


def _feature_rows(features: Features) -> pa.Table:
    token, rank = np.nonzero(features.ids >= 0)
    columns = [
        np.full(len(token), features.layer, dtype=np.int32),
        token.astype(np.int32),
        rank.astype(np.int16),
        features.ids[token, rank],
        features.activations[token, rank],
    ]
    return pa.table([pa.array(column) for column in columns], schema=FEATURES)


def _attention_rows(attention: Attention) -> Iterator[pa.Table]:
    tokens, k = len(attention), attention.top_k
    token = np.repeat(np.arange(tokens, dtype=np.int32), k)
    rank = np.tile(np.arange(k, dtype=np.int16), tokens)
    for layout in attention.layers:
        keys, weights = attention.top_keys(layout.layer)
        for number, head in enumerate(attention.heads):
            recorded = keys[number].reshape(-1) >= 0
            columns = [
                np.full(int(recorded.sum()), layout.layer, dtype=np.int32),
                np.full(int(recorded.sum()), head, dtype=np.int32),
                token[recorded],
                rank[recorded],
                keys[number].reshape(-1)[recorded],
                weights[number].reshape(-1)[recorded],
            ]
            yield pa.table([pa.array(column) for column in columns], schema=ATTENTION)


def write_parquet(trace: TraceRecords, folder: str | Path) -> list[Path]:
    """Write the tables of a trace as Parquet files, the routing one layer at a time.

    Parameters
    ----------
    trace
        The trace.
    folder
        Created if it does not exist. It receives ``tokens.parquet``, ``routing.parquet``, ….

    Returns
    -------
    list of Path
    """
    target = make_folder("folder", folder, example='trace.to_parquet("tables")')
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
    if trace.features is not None:
        pq.write_table(_feature_rows(trace.features), target / "features.parquet")
        tables["features"] = FEATURES
    return [target / f"{name}.parquet" for name in tables]

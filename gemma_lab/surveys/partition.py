"""One partition of a survey on disk: rows, tokens and a summary, written atomically."""

from __future__ import annotations

import os
import shutil
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from .summary import RoutingSummary

if TYPE_CHECKING:
    from ..analysis.attention.head_summary import HeadSummary
    from ..trace.run.served_trace import ServedTrace
    from ..trace.trace import Trace

PROMPTS, TOKENS, SUMMARY = "prompts.parquet", "tokens.parquet", "routing.safetensors"
HEADS = "heads.safetensors"

#: Of the rows: a partition without a failed prompt has the columns of one with some.
ROWS = pa.schema(
    [
        ("index", pa.int64()),
        ("prompt", pa.string()),
        ("error", pa.string()),
        ("prompt_tokens", pa.int64()),
        ("generated_tokens", pa.int64()),
        ("reply", pa.string()),
        ("finish_reason", pa.string()),
        ("correct", pa.bool_()),
        ("mean_logprob", pa.float64()),
        ("first_token_mass", pa.list_(pa.float64())),
        ("stable_from_layer", pa.list_(pa.int64())),
        ("labels", pa.map_(pa.string(), pa.string())),
    ]
)


def label_column(label: str) -> str:
    """Return the column of a label in the table of prompts: ``label_index`` for one called ``index``."""
    return f"label_{label}" if label in ROWS.names else label


def partition_path(folder: Path, number: int) -> Path:
    """Return the folder of a partition; it exists exactly when the partition is complete."""
    return folder / f"part-{number:06}"


def write_partition(
    folder: Path,
    number: int,
    rows: list[dict[str, Any]],
    tokens: list[pa.Table],
    summary: RoutingSummary | None,
    heads: HeadSummary | None = None,
) -> Path:
    """Write a partition under another name and rename it; keep one that is there by then."""
    target = partition_path(folder, number)
    draft = folder / f".draft-{number:06}-{uuid.uuid4().hex}"
    draft.mkdir(parents=True)
    try:
        pq.write_table(pa.Table.from_pylist(rows, schema=ROWS), draft / PROMPTS, compression="zstd")
        if tokens:
            pq.write_table(pa.concat_tables(tokens), draft / TOKENS, compression="zstd")
        if summary is not None:
            summary.save(draft / SUMMARY)
        if heads is not None:
            heads.save(draft / HEADS)
        for path in draft.iterdir():  # on disk before the name says that it is complete
            with path.open("rb") as file:
                os.fsync(file.fileno())
        try:
            draft.rename(target)
        except OSError:
            if not target.is_dir():
                raise
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return target


def token_table(index: int, trace: Trace) -> pa.Table:
    """Return the tokens of one prompt with their routing, one row per token."""
    tokens, routing = trace.tokens, trace.routing
    columns: dict[str, pa.Array] = {
        "prompt": pa.array(np.full(len(tokens), index, np.int64)),
        "position": pa.array(np.arange(len(tokens), dtype=np.int32)),
        "id": pa.array(np.asarray(tokens.ids, np.int32)),
        "role": pa.array(list(tokens.roles)),
        "modality": pa.array(list(tokens.modalities)),
        "generated": pa.array(np.asarray(tokens.generated, bool)),
    }
    if routing is not None:
        columns["experts"] = _per_token(routing.ids)
        columns["gate_weights"] = _per_token(np.asarray(routing.gate_weights, np.float16))
        columns["entropy"] = _per_token(np.asarray(routing.entropy, np.float16)[:, :, None])
    return pa.table(columns)


def served_token_table(index: int, trace: ServedTrace) -> pa.Table:
    """Return the tokens of one prompt with the experts that a server reported; the rest is null."""
    routing = trace.routing
    assert routing is not None
    count = len(routing)
    ids, generated = trace.ids, trace.generated
    return pa.table(
        {
            "prompt": pa.array(np.full(count, index, np.int64)),
            "position": pa.array(np.arange(routing.start, routing.start + count, dtype=np.int32)),
            "id": pa.nulls(count, pa.int32()) if ids is None else pa.array(ids, pa.int32()),
            "role": pa.nulls(count, pa.string()),
            "modality": pa.nulls(count, pa.string()),
            "generated": pa.nulls(count, pa.bool_())
            if generated is None
            else pa.array(generated, pa.bool_()),
            "experts": _per_token(routing.ids),
        }
    )


def _per_token(array: Any) -> pa.Array:
    """Return ``[L, T, k]`` as one fixed list of L × k values per token."""
    by_token = np.ascontiguousarray(np.moveaxis(np.asarray(array), 1, 0)).reshape(array.shape[1], -1)
    return pa.FixedSizeListArray.from_arrays(pa.array(by_token.ravel()), by_token.shape[1])

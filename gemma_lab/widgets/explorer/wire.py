"""Per-token summary for the browser: top keys of the row that predicted a token, its experts, its logit lens.

A generated token was decided by the row before it, the row that read the previous token. So the row behind a
generated token is the one before it; behind a token of the prompt, its own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ..shared.base import sendable
from ..shared.wire import pack, sixteen_bits
from .feature_buffer import add_features

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ...trace.records.attention import Attention
    from ...trace.records.logit_lens import LogitLens
    from ...trace.records.routing import Routing
    from ...trace.trace import Trace

#: Longest text of which all rows are sent; of longer ones, the last 512 and those behind the answer.
_ALL_ROWS, _LAST_ROWS = 1024, 512
#: Fewest keys of a layer's mean over heads, bytes that more keys may take, and edges of a row.
_MIN_KEYS, _KEY_BYTES, _EDGES = 12, 3 << 20, 8


def rows_behind(trace: Trace) -> NDArray[np.int64]:
    """Return the rows that are kept: all of a short text, else its end and those behind the answer."""
    total = len(trace)
    if total <= _ALL_ROWS:
        return np.arange(total)
    written = np.flatnonzero(trace.tokens.generated) - 1
    return np.unique(np.concatenate([written[written >= 0], np.arange(total - _LAST_ROWS, total)]))


def summary_buffer(trace: Trace) -> bytes:
    """Return the summary of the rows of `rows_behind`, as one buffer.

    Arrays, for P rows: ``rows`` ``[P]``; ``keys`` and ``key_weights`` ``[layers, P, keys]``, the mean over a
    layer's heads (of all their top keys if they fit, of 12 at least); ``top_edges`` ``[P, 8, 3]`` (layer
    index, head index, key) with ``edge_weights`` ``[P, 8]``, the heaviest single weights without the first
    token; ``expert_ids`` and ``expert_weights`` ``[layers, P, k]``; of the logit lens ``top_words`` and
    ``probabilities`` ``[layers, positions, k]`` and ``final_ranks`` ``[layers, positions]``; of an SAE what
    `add_features` adds.
    """
    rows = rows_behind(trace)
    arrays: dict[str, NDArray[Any]] = {"rows": rows.astype(np.uint32)}
    meta: dict[str, Any] = {}
    if trace.attention is not None and trace.attention.top_k:
        _add_attention(arrays, meta, trace.attention, rows)
    if trace.routing is not None:
        _add_experts(arrays, meta, trace.routing, rows)
    if trace.logit_lens is not None and len(trace.logit_lens):
        _add_lens(arrays, meta, trace.logit_lens)
    if trace.features is not None:
        add_features(arrays, meta, trace.features)
    return pack(arrays, meta=meta)


def top_edges(attention: Attention, rows: NDArray[Any]) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Return the heaviest attention weights of each row over all layers and heads, without the first token.

    Parameters
    ----------
    attention
        With top keys.
    rows
        ``[P]``.

    Returns
    -------
    edges
        ``[P, 8, 3]``: layer index, head index, key; heaviest first.
    weights
        ``[P, 8]``; 0 where a row has fewer.
    """
    found = np.zeros((len(rows), 0, 3), dtype=np.int64)
    weights = np.zeros((len(rows), 0), dtype=np.float32)
    for layer_index, layout in enumerate(attention.layers):
        keys, key_weights = (each[:, rows].swapaxes(0, 1) for each in attention.top_keys(layout.layer))
        heads = np.broadcast_to(np.arange(keys.shape[1])[None, :, None], keys.shape)
        triples = np.stack([np.full(keys.shape, layer_index), heads, keys], axis=-1).reshape(len(rows), -1, 3)
        share = np.where(keys > 0, key_weights, 0).astype(np.float32).reshape(len(rows), -1)
        found, weights = np.concatenate([found, triples], axis=1), np.concatenate([weights, share], axis=1)
        order = np.argsort(-weights, axis=1, kind="stable")[:, :_EDGES]
        found = np.take_along_axis(found, order[..., None], axis=1)
        weights = np.take_along_axis(weights, order, axis=1)
    return found, weights


def _add_attention(
    arrays: dict[str, Any], meta: dict[str, Any], attention: Attention, rows: NDArray[Any]
) -> None:
    room = _KEY_BYTES // (6 * len(attention.layers) * max(1, len(rows)))
    most = min(len(attention.heads) * attention.top_k, max(_MIN_KEYS, room))
    keys = np.zeros((len(attention.layers), len(rows), most), dtype=np.uint32)
    mean_weights = np.zeros(keys.shape, dtype=np.float32)
    for layer_index, layout in enumerate(attention.layers):
        ids, weights = (each[:, rows].swapaxes(0, 1) for each in attention.top_keys(layout.layer))
        for at in range(len(rows)):
            ids_here, inverse = np.unique(ids[at].reshape(-1), return_inverse=True)
            sums = np.bincount(inverse.reshape(-1), weights[at].reshape(-1).astype(np.float64)) / ids.shape[1]
            sums[ids_here < 0] = 0
            order = np.argsort(-sums, kind="stable")[:most]
            keys[layer_index, at, : len(order)] = ids_here[order].clip(0)
            mean_weights[layer_index, at, : len(order)] = sums[order]
    edges, edge_weights = top_edges(attention, rows)
    arrays |= {
        "keys": keys,
        "key_weights": sixteen_bits(mean_weights),
        "top_edges": edges.clip(0).astype(np.uint32),
        "edge_weights": sixteen_bits(edge_weights),
    }
    meta["attention"] = {
        "layers": [int(one.layer) for one in attention.layers],
        "kinds": [str(one.kind) for one in attention.layers],
        "heads": [int(head) for head in attention.heads],
    }


def _add_experts(arrays: dict[str, Any], meta: dict[str, Any], routing: Routing, rows: NDArray[Any]) -> None:
    selected = routing.select(rows)
    weights = np.asarray(selected.weights, dtype=np.float32)
    top = float(weights.max(initial=0.0)) or 1.0
    arrays |= {
        "expert_ids": np.asarray(selected.ids).astype(np.uint16),
        "expert_weights": sixteen_bits(weights / top),
    }
    meta["routing"] = {
        "layers": [int(layer) for layer in routing.layers],
        "experts": int(routing.experts),
        "scale_max": top,
    }


def _add_lens(arrays: dict[str, Any], meta: dict[str, Any], logit_lens: LogitLens) -> None:
    ids = np.unique(logit_lens.ids)
    arrays |= {
        "lens_positions": np.asarray(logit_lens.positions, dtype=np.uint32),
        "top_words": np.searchsorted(ids, logit_lens.ids).astype(np.uint32),
        "probabilities": sixteen_bits(np.exp(logit_lens.logprobs)),
        "final_ranks": np.asarray(logit_lens.rank(), dtype=np.uint32),
    }
    words = [sendable(str(logit_lens.token_texts[int(index)])) for index in ids]
    meta["logit_lens"] = {
        "layers": [int(layer) for layer in logit_lens.layers],
        "words": words,
        "k": int(logit_lens.top),
        "kind": logit_lens.kind,
    }

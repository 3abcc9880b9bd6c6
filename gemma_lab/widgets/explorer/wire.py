"""What stands behind each token, for the browser: where its row looked, which experts ran, what layers said.

A token that the model wrote was decided one row before its own: the row that read the token before it. So
what stands behind it is that row; behind a token of the prompt, its own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ..shared.base import sendable
from ..shared.wire import pack

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ...trace.records.attention import Attention
    from ...trace.records.logit_lens import LogitLens
    from ...trace.records.routing import Routing
    from ...trace.trace import Trace

#: Of longer texts only the end of the prompt and the answer are kept, so many rows at least.
_WHOLE, _END = 1024, 512
#: Keys of the mean of a layer's heads, at least, and bytes that more of them may take; single looks of a row.
_KEYS, _BYTES, _SINGLE = 12, 3 << 20, 8
_SIXTEEN = 65535


def rows_behind(trace: Trace) -> NDArray[np.int64]:
    """Return the rows that are kept: all of a short text, else its end and those behind the answer."""
    total = len(trace)
    if total <= _WHOLE:
        return np.arange(total)
    written = np.flatnonzero(trace.tokens.generated) - 1
    return np.unique(np.concatenate([written[written >= 0], np.arange(total - _END, total)]))


def glance_buffer(trace: Trace) -> bytes:
    """Return what stands behind `rows_behind`, as one buffer.

    Arrays, for P rows: ``rows`` ``[P]``; ``keys`` and ``gate_weights`` ``[layers, P, keys]``, the mean of a layer's
    heads (of all their heaviest keys where there is room, of 12 at least); ``looks`` ``[P, 8, 3]`` (layer's
    place, head's place, key) with ``strengths`` ``[P, 8]``, the strongest single looks, the first token left
    out; ``experts`` and ``weights`` ``[layers, P, k]``; of the lens ``said`` and ``chances``
    ``[layers, positions, k]`` and ``ranks`` ``[layers, positions]``.
    """
    rows = rows_behind(trace)
    arrays: dict[str, NDArray[Any]] = {"rows": rows.astype(np.uint32)}
    meta: dict[str, Any] = {}
    if trace.attention is not None and trace.attention.top_k:
        _add_looks(arrays, meta, trace.attention, rows)
    if trace.routing is not None:
        _add_experts(arrays, meta, trace.routing, rows)
    if trace.logit_lens is not None and len(trace.logit_lens):
        _add_lens(arrays, meta, trace.logit_lens)
    return pack(arrays, meta=meta)


def strongest(attention: Attention, rows: NDArray[Any]) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Return the strongest single looks of each row at anything but the first token.

    Parameters
    ----------
    attention
        With heaviest keys.
    rows
        ``[P]``.

    Returns
    -------
    looks
        ``[P, 8, 3]``: the layer's place, the head's place, the key; strongest first.
    strengths
        ``[P, 8]``; 0 where a row has fewer.
    """
    found = np.zeros((len(rows), 0, 3), dtype=np.int64)
    weights = np.zeros((len(rows), 0), dtype=np.float32)
    for place, layout in enumerate(attention.layers):
        keys, gate_weights = (each[:, rows].swapaxes(0, 1) for each in attention.top_keys(layout.layer))
        heads = np.broadcast_to(np.arange(keys.shape[1])[None, :, None], keys.shape)
        triples = np.stack([np.full(keys.shape, place), heads, keys], axis=-1).reshape(len(rows), -1, 3)
        share = np.where(keys > 0, gate_weights, 0).astype(np.float32).reshape(len(rows), -1)
        found, weights = np.concatenate([found, triples], axis=1), np.concatenate([weights, share], axis=1)
        order = np.argsort(-weights, axis=1, kind="stable")[:, :_SINGLE]
        found = np.take_along_axis(found, order[..., None], axis=1)
        weights = np.take_along_axis(weights, order, axis=1)
    return found, weights


def _add_looks(
    arrays: dict[str, Any], meta: dict[str, Any], attention: Attention, rows: NDArray[Any]
) -> None:
    room = _BYTES // (6 * len(attention.layers) * max(1, len(rows)))
    most = min(len(attention.heads) * attention.top_k, max(_KEYS, room))
    keys = np.zeros((len(attention.layers), len(rows), most), dtype=np.uint32)
    gate_weights = np.zeros(keys.shape, dtype=np.float32)
    for place, layout in enumerate(attention.layers):
        ids, weights = (each[:, rows].swapaxes(0, 1) for each in attention.top_keys(layout.layer))
        for at in range(len(rows)):
            here, inverse = np.unique(ids[at].reshape(-1), return_inverse=True)
            sums = np.bincount(inverse.reshape(-1), weights[at].reshape(-1).astype(np.float64)) / ids.shape[1]
            sums[here < 0] = 0
            order = np.argsort(-sums, kind="stable")[:most]
            keys[place, at, : len(order)] = here[order].clip(0)
            gate_weights[place, at, : len(order)] = sums[order]
    looks, strengths = strongest(attention, rows)
    arrays |= {
        "keys": keys, "gate_weights": _steps(gate_weights), "looks": looks.clip(0).astype(np.uint32),
        "strengths": _steps(strengths),
    }  # fmt: skip
    meta["attention"] = {
        "layers": [int(one.layer) for one in attention.layers],
        "kinds": [str(one.kind) for one in attention.layers],
        "heads": [int(head) for head in attention.heads],
    }


def _add_experts(arrays: dict[str, Any], meta: dict[str, Any], routing: Routing, rows: NDArray[Any]) -> None:
    here = routing.select(rows)
    weights = np.asarray(here.weights, dtype=np.float32)
    top = float(weights.max(initial=0.0)) or 1.0
    arrays |= {"experts": np.asarray(here.ids).astype(np.uint16), "weights": _steps(weights / top)}
    meta["routing"] = {
        "layers": [int(layer) for layer in routing.layers], "experts": int(routing.experts), "heaviest": top,
    }  # fmt: skip


def _add_lens(arrays: dict[str, Any], meta: dict[str, Any], logit_lens: LogitLens) -> None:
    ids = np.unique(logit_lens.ids)
    arrays |= {
        "positions": np.asarray(logit_lens.positions, dtype=np.uint32),
        "said": np.searchsorted(ids, logit_lens.ids).astype(np.uint32),
        "chances": _steps(np.exp(logit_lens.logprobs)),
        "ranks": np.asarray(logit_lens.rank(), dtype=np.uint32),
    }
    words = [sendable(str(logit_lens.token_texts[int(index)])) for index in ids]
    meta["logit_lens"] = {
        "layers": [int(layer) for layer in logit_lens.layers],
        "words": words,
        "k": int(logit_lens.top),
    }


def _steps(values: NDArray[Any]) -> NDArray[np.uint16]:
    steps: NDArray[np.uint16] = np.rint(np.clip(values, 0, 1) * _SIXTEEN).astype(np.uint16)
    return steps

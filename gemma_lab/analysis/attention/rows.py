"""Maps and rows of attention as the views draw them: without the sink, pooled, or of one token."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ...errors import BadTrace, LabError
from ...trace.records.attention import Attention

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ...trace.trace import Trace


def require_attention_maps(trace: Trace | Attention) -> Attention:
    """Return the attention of a trace (or an attention itself); raise `BadTrace` if it has no maps."""
    attention = trace if isinstance(trace, Attention) else trace.attention
    if attention is None or not attention.bands:
        raise BadTrace("This trace holds no attention maps.", hint="Trace with attention=True.")
    return attention


def head_index(attention: Attention, head: int) -> int:
    """Return the index of a query head among the recorded ones; raise `LabError` if it was not recorded."""
    if head not in attention.heads:
        have = ", ".join(map(str, attention.heads))
        raise LabError(f"Head {head} was not recorded in this trace.", hint=f"Recorded heads: {have}.")
    return attention.heads.index(head)


def without_sink(attention: Attention, layer: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return a layer's maps without the attention to the first token, and that attention.

    Most heads give the first token a large share of every row without using it (Xiao et al. 2023,
    arXiv:2309.17453, call it an attention sink), which would dominate a common colour scale.

    Parameters
    ----------
    attention
        With maps.
    layer
        The model's layer.

    Returns
    -------
    maps
        ``[heads, bins, bins]``; each row sums to 1 with `sink` added to its first column.
    sink
        ``[heads, bins]``: mean over the queries of each bin. Zero where neither the statistics nor a first
        bin of one token give it.
    """
    maps = np.array(attention.pooled(layer), dtype=np.float32)
    edges = np.asarray(attention.bin_edges, dtype=np.int64)
    if edges[1] == 1:  # the first bin is the first token
        sink = maps[:, :, 0].copy()
    elif "first_token_mass" in attention.per_query:
        sums = np.add.reduceat(attention.first_token_mass(layer), edges[:-1], axis=1)
        sink = np.minimum((sums / np.diff(edges)).astype(np.float32), maps[:, :, 0])
    else:
        return maps, np.zeros(maps.shape[:2], dtype=np.float32)
    maps[:, :, 0] -= sink
    return maps, sink


def pool_maps(maps: NDArray[np.float32], edges: NDArray[Any], *, limit: int) -> NDArray[np.float32]:
    """Pool maps ``[heads, bins, bins]`` to at most `limit` bins: mean over queries, sum over keys."""
    bins, tokens = maps.shape[-1], np.diff(np.asarray(edges, dtype=np.int64))
    if bins <= limit:
        return maps
    cuts = np.unique(np.linspace(0, bins, limit + 1).round().astype(np.int64))[:-1]
    summed = np.add.reduceat(maps, cuts, axis=2) * tokens[:, None]
    means = np.add.reduceat(summed, cuts, axis=1) / np.add.reduceat(tokens, cuts)[:, None]
    return np.asarray(means, dtype=np.float32)


def attention_row(
    trace: Trace, *, layer: int, query: int, head: int | None = None
) -> tuple[NDArray[np.float32], str]:
    """Return the attention of a token to every token of a trace, and its precision.

    Parameters
    ----------
    trace
        With attention.
    layer
        The model's layer.
    query
        Row of the token table.
    head
        Its query head. Default: the mean of all recorded heads.

    Returns
    -------
    weights
        ``[tokens]``.
    precision
        ``"full row"``, ``"top keys"`` or ``"pooled"``.
    """
    attention = require_attention_maps(trace)
    which = (
        slice(None) if head is None else slice(head_index(attention, head), head_index(attention, head) + 1)
    )
    found = np.zeros(len(attention), dtype=np.float32)
    if (layer, query) in attention.full_rows:
        row = attention.row(layer, query)[which].mean(axis=0)
        found[: len(row)] = row
        return found, "full row"
    if attention.bins == len(attention):
        return attention.pooled(layer)[which, query].mean(axis=0), "full row"
    if attention.top_k:
        keys, weights = (each[which, query] for each in attention.top_keys(layer))
        np.add.at(found, keys[keys >= 0], weights[keys >= 0] / len(keys))
        return found, "top keys"
    edges = np.asarray(attention.bin_edges)
    row = attention.pooled(layer)[which, np.searchsorted(edges, query, side="right") - 1].mean(axis=0)
    return np.repeat(row / np.diff(edges), np.diff(edges)).astype(np.float32), "pooled"


def scale_max(values: NDArray[Any]) -> float:
    """Return the end of a colour scale: the 99 % quantile of the values above 0."""
    positive = values[values > 0]
    return float(max(np.quantile(positive, 0.99), 1e-6)) if positive.size else 1.0


def describe_pooling(attention: Attention) -> str:
    """Describe a cell of the maps in words."""
    if attention.bins == len(attention):
        return "each cell is one query and one key"
    size = int(np.diff(attention.bin_edges).max())
    return f"pooled to {attention.bins} bins of up to {size:,} tokens (mean of queries, sum of keys)"


def image_patches(trace: Trace, image: int) -> NDArray[np.intp]:
    """Return the rows of an image's tokens that have a position in it; raise `LabError` if there are none."""
    tokens = trace.tokens
    found = np.flatnonzero((tokens.modalities == "image") & (tokens.media_index == image))
    found = np.asarray(found[tokens.boxes[found, 2] > tokens.boxes[found, 0]], dtype=np.intp)
    if not found.size:
        raise LabError(f"This trace has no image {image}.", hint="Trace a prompt with images=[…].")
    return found

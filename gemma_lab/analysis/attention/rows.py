"""The numbers that views of attention are made of: maps without their sink, where a token looks, names."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ...errors import BadTrace, LabError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ...trace.records.attention import Attention
    from ...trace.trace import Trace


def require_attention_maps(trace: Trace) -> Attention:
    """Return the attention of a trace; BadTrace if it holds no maps."""
    if trace.attention is None or not trace.attention.bands:
        raise BadTrace("This trace holds no attention maps.", hint="Trace with attention=True.")
    return trace.attention


def head_index(attention: Attention, head: int) -> int:
    """Return the place of a query head among the captured ones; LabError if it is not there."""
    if head not in attention.heads:
        have = ", ".join(map(str, attention.heads))
        raise LabError(f"There is no head {head} in this trace.", hint=f"The heads are {have}.")
    return attention.heads.index(head)


def without_sink(attention: Attention, layer: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return a layer's maps without the attention on the first token, and that attention.

    Most heads give the first token a large and empty share of every row (Xiao et al. 2023, arXiv 2309.17453,
    call it a sink); with it on one scale nothing else would be seen.

    Parameters
    ----------
    attention
        With maps.
    layer
        The model's layer.

    Returns
    -------
    maps
        ``[heads, bins, bins]``; with `sink` in its first column each row sums to 1.
    sink
        ``[heads, bins]``: the mean share of the queries of each bin. Zero where neither the statistics nor a
        first bin of one token tell it.
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


def pool_maps(maps: NDArray[np.float32], edges: NDArray[Any], *, most: int) -> NDArray[np.float32]:
    """Return maps ``[heads, bins, bins]`` of at most so many bins: the mean of queries, the sum of keys."""
    bins, tokens = maps.shape[-1], np.diff(np.asarray(edges, dtype=np.int64))
    if bins <= most:
        return maps
    cuts = np.unique(np.linspace(0, bins, most + 1).round().astype(np.int64))[:-1]
    summed = np.add.reduceat(maps, cuts, axis=2) * tokens[:, None]
    means = np.add.reduceat(summed, cuts, axis=1) / np.add.reduceat(tokens, cuts)[:, None]
    return np.asarray(means, dtype=np.float32)


def attention_row(
    trace: Trace, *, layer: int, query: int, head: int | None = None
) -> tuple[NDArray[np.float32], str]:
    """Return what a token gives every token of a trace, and how exactly that is known.

    Parameters
    ----------
    trace
        With attention.
    layer
        The model's layer.
    query
        The token that looks.
    head
        Its query head; the mean of all captured ones when omitted.

    Returns
    -------
    weights
        ``[tokens]``.
    how
        ``"the whole row"``, ``"its heaviest keys"`` or ``"pooled"``.
    """
    attention = require_attention_maps(trace)
    which = (
        slice(None) if head is None else slice(head_index(attention, head), head_index(attention, head) + 1)
    )
    found = np.zeros(len(attention), dtype=np.float32)
    if (layer, query) in attention.full_rows:
        row = attention.row(layer, query)[which].mean(axis=0)
        found[: len(row)] = row
        return found, "the whole row"
    if attention.bins == len(attention):
        return attention.pooled(layer)[which, query].mean(axis=0), "the whole row"
    if attention.top_k:
        keys, weights = (each[which, query] for each in attention.top_keys(layer))
        np.add.at(found, keys[keys >= 0], weights[keys >= 0] / len(keys))
        return found, "its heaviest keys"
    edges = np.asarray(attention.bin_edges)
    row = attention.pooled(layer)[which, np.searchsorted(edges, query, side="right") - 1].mean(axis=0)
    return np.repeat(row / np.diff(edges), np.diff(edges)).astype(np.float32), "pooled"


def scale_max(values: NDArray[Any]) -> float:
    """Return where a scale ends: 99 % of what is lit lies below."""
    lit = values[values > 0]
    return float(max(np.quantile(lit, 0.99), 1e-6)) if lit.size else 1.0


def describe_pooling(attention: Attention) -> str:
    """Return in words what a cell of the maps is."""
    if attention.bins == len(attention):
        return "every cell is one query and one key"
    size = int(np.diff(attention.bin_edges).max())
    return f"pooled to {attention.bins} bins of up to {size:,} tokens (mean of queries, sum of keys)"


def image_patches(trace: Trace, image: int) -> NDArray[np.intp]:
    """Return the tokens of a picture that have a place in it; LabError if there are none."""
    tokens = trace.tokens
    found = np.flatnonzero((tokens.modalities == "image") & (tokens.media_index == image))
    found = np.asarray(found[tokens.boxes[found, 2] > tokens.boxes[found, 0]], dtype=np.intp)
    if not found.size:
        raise LabError(f"This trace has no picture {image}.", hint="Trace a prompt with images=[…].")
    return found

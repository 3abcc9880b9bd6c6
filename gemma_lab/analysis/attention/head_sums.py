"""Sums over the attention rows of one trace, by measure and head."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from .head_types import NEAR
from .sinks import MIN_QUERIES, SINK_THRESHOLD, received
from .top_keys import evenly_spaced, top_keys

if TYPE_CHECKING:
    from ...trace.records.attention import Attention
    from ...trace.trace import Trace
    from .top_keys import Floats

Array = np.ndarray[Any, np.dtype[Any]]

#: Of every attention row: nats, tokens, and shares of its attention.
MEASURES = (
    "entropy", "distance", "sink", "first token", "previous token", "local", "picture reading",
)  # fmt: skip
#: The first query of each test, as in `gemma_lab.analysis.classify_heads`.
_FIRST_QUERY, _FIRST_LOCAL_QUERY, _FIRST_PREVIOUS_QUERY = 8, 64, 2


def sums_of(trace: Trace, attention: Attention) -> tuple[Array, Array, Array]:
    """Return queries, sums and sums under even attention, each ``[measures, layers, heads]``.

    Measures that were not recorded have no queries. The sinks are `received_by_sinks`.
    """
    shape = (len(MEASURES), len(attention.layers), len(attention.heads))
    queries, sums, even = np.zeros(shape, np.int64), np.zeros(shape), np.zeros(shape)
    if "entropy" in attention.per_query:
        _add_statistics(attention, queries, sums, even)
    if "mass_by_label" in attention.per_query:
        _add_pictures(trace, attention, queries, sums, even)
    if attention.top_k:
        _add_neighbours(attention, queries, sums, even)
    return queries, sums, even


def received_by_sinks(attention: Attention) -> Floats | None:
    """Return the attention that goes to each head's sinks, summed over all rows, ``[layers × heads]``.

    A sink is a token with a mean of 0.3 or more (`gemma_lab.analysis.attention_sinks`). None of a text that
    is too short to have one, or without top keys.
    """
    length = len(attention)
    if length <= MIN_QUERIES or not attention.top_k:
        return None
    total = []
    for layout in attention.layers:
        mean = received(attention, layout.layer)
        seen = length - 1 - np.arange(length)
        seen = seen if layout.window is None else np.minimum(seen, layout.window - 1)
        total.append((np.where(mean >= SINK_THRESHOLD, mean, 0.0) * seen).sum(axis=1))
    return np.concatenate(total)


def _visible(attention: Attention, window: int | None) -> Array:
    """Return how many keys each query of a layer sees, its own included, ``[tokens]``."""
    count = np.arange(1, len(attention) + 1)
    return count if window is None else np.minimum(count, window)


def _add_statistics(attention: Attention, queries: Array, sums: Array, even: Array) -> None:
    entropy, distance, first = (MEASURES.index(name) for name in ("entropy", "distance", "first token"))
    for row, layout in enumerate(attention.layers):
        visible = _visible(attention, layout.window)
        queries[[entropy, distance], row] = len(attention)
        sums[entropy, row] = attention.entropy(layout.layer).sum(axis=1, dtype=np.float64)
        even[entropy, row] = np.log(visible).sum()
        sums[distance, row] = attention.distance(layout.layer).sum(axis=1, dtype=np.float64)
        even[distance, row] = ((visible - 1) / 2).sum()
        last = len(attention) if layout.window is None else min(len(attention), layout.window)
        part = slice(_FIRST_QUERY, last)  # queries that see the first token
        if last > _FIRST_QUERY:
            mass = attention.first_token_mass(layout.layer)[:, part]
            queries[first, row] = last - _FIRST_QUERY
            sums[first, row] = mass.sum(axis=1, dtype=np.float64)
            even[first, row] = (1 / visible[part]).sum()


def _add_pictures(trace: Trace, attention: Attention, queries: Array, sums: Array, even: Array) -> None:
    image = np.isin(trace.tokens.modalities.astype(str), ("image", "video"))
    if not image.any():
        return
    place, before = MEASURES.index("picture reading"), np.concatenate([[0], np.cumsum(image)])
    at = np.arange(len(attention))
    for row, layout in enumerate(attention.layers):
        visible = _visible(attention, layout.window)
        share = (before[at + 1] - before[at + 1 - visible]) / visible
        counted = ~image & (share > 0)
        mass = attention.mass_by_label(layout.layer)
        parts = [mass[name] for name in ("modality:image", "modality:video") if name in mass]
        queries[place, row] = counted.sum()
        sums[place, row] = np.sum(parts, axis=0)[:, counted].sum(axis=1, dtype=np.float64)
        even[place, row] = share[counted].sum()


def _add_neighbours(attention: Attention, queries: Array, sums: Array, even: Array) -> None:
    shape = sums.shape[1:]
    for name, first in (("previous token", _FIRST_PREVIOUS_QUERY), ("local", _FIRST_LOCAL_QUERY)):
        chosen = evenly_spaced(np.arange(first, len(attention)))
        if not len(chosen):
            continue
        found, place = top_keys(attention, chosen), MEASURES.index(name)
        back = found.queries[None, :, None] - found.keys
        wanted = back == 1 if name == "previous token" else np.abs(back) < NEAR
        near = 1 if name == "previous token" else np.minimum(NEAR, found.visible)
        queries[place] = len(chosen)
        sums[place] = (found.mean_attention(wanted) * len(chosen)).reshape(shape)
        even[place] = (near / found.visible).sum(axis=1).reshape(shape)

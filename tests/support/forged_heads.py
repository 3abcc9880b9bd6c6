"""Attention made by hand: each head is a matrix, and the trace keeps of it what the model's probe would."""

from __future__ import annotations

import numpy as np

from gemma_lab.models.tokens.table import TokenTable
from gemma_lab.trace.records.attention import Attention, HeadLayout
from gemma_lab.trace.records.generation import Generation
from gemma_lab.trace.trace import Trace

LABELS = ("modality:text", "modality:image")


def rows(weights) -> np.ndarray:
    """Rows that sum to 1, of what may be seen: keys up to the query."""
    lower = np.tril(np.asarray(weights, dtype=np.float64))
    return lower / lower.sum(axis=1, keepdims=True)


def even(count, *, window=None) -> np.ndarray:
    """A head that looks at all it sees alike."""
    seen = np.ones((count, count))
    if window is not None:
        seen = np.triu(seen, 1 - window)
    return rows(seen)


def looking(count, places, *, share=0.9, window=None) -> np.ndarray:
    """A head that puts a share of its attention on one key a query (−1: on none), the rest evenly."""
    found = even(count, window=window)
    for query, key in enumerate(places):
        if 0 <= key <= query:
            found[query] *= 1 - share
            found[query, key] += share
    return found


def build_attention(layers, *, windows=None, images=None, top_k=8) -> Attention:
    """The attention of layers, each a list of matrices ``[T, T]``; `windows` one a layer."""
    count, heads = len(layers[0][0]), len(layers[0])
    windows = windows or [None] * len(layers)
    layouts = tuple(
        HeadLayout(layer, "global" if window is None else "local", window, heads, 1, 4)
        for layer, window in enumerate(windows)
    )
    whole = np.asarray(layers)  # [L, H, T, T]
    k = min(top_k, count)
    keys = np.argsort(-whole, axis=3, kind="stable")[..., :k]
    weights = np.take_along_axis(whole, keys, axis=3)
    keys = np.where(weights > 0, keys, -1)
    image = np.zeros(count) if images is None else np.asarray(images, dtype=float)
    numbers = {
        "keys": keys.swapaxes(1, 2).astype(np.int32),
        "weights": weights.swapaxes(1, 2).astype(np.float32),
        "first_token_mass": whole[..., 0].swapaxes(1, 2).astype(np.float32),
        "mass_by_label": np.stack([whole @ (1 - image), whole @ image], axis=-1).transpose(0, 2, 3, 1),
    }
    return Attention(
        layers=layouts, heads=tuple(range(heads)), tokens=count, bin_edges=np.asarray([0, count]),
        labels=LABELS, per_query=numbers,
    )  # fmt: skip


def trace_of(attention, *, ids=None, said=(), texts=None, scripts=None, images=None) -> Trace:
    """A trace of tokens with this attention; the last of what was said was never read."""
    count = len(attention)
    read = max(0, len(said) - 1)
    ids = np.arange(count) if ids is None else np.asarray(ids)

    def column(values) -> np.ndarray:
        made = np.empty(count, dtype=object)
        made[:] = values
        return made

    kinds = ["text"] * count if images is None else ["image" if here else "text" for here in images]
    table = TokenTable(
        ids.astype(np.int32), column([f"<{index}>" for index in ids]),
        column(["a"] * count if texts is None else texts), np.arange(count, dtype=np.int32),
        column(["user"] * count), column(kinds), np.full(count, -1, np.int16),
        np.full((count, 4), -1, np.int32), np.full((count, 2), -1, np.int32), np.full(count, -1, np.int16),
        column(["Latn"] * count if scripts is None else scripts), column(["ltr"] * count),
        np.arange(count) >= count - read,
    )  # fmt: skip
    made = None
    if len(said):
        known = [[index] for index in said]
        made = Generation.of(
            ids=list(said), logprobs=[-0.1] * len(said), entropy=[0.1] * len(said), alternative_ids=known,
            alternative_logprobs=[[-0.1]] * len(said), finish_reason="length", text="said",
        )  # fmt: skip
    return Trace(table, generation=made, meta={"model": "forged"}, attention=attention)

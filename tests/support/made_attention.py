"""Attentions made up by hand, for tests that need no model."""

from __future__ import annotations

from typing import Any

import numpy as np

from gemma_lab.trace.records.attention import Attention, HeadLayout, Tower
from gemma_lab.trace.records.attention_bands import band_extent, to_band


def whole_rows(*, heads: int = 2, tokens: int = 20, window: int | None = None, seed: int = 0) -> np.ndarray:
    """Return random causal rows ``[heads, tokens, tokens]`` that sum to 1."""
    scores = np.random.default_rng(seed).normal(size=(heads, tokens, tokens)) * 2
    apart = np.arange(tokens)[:, None] - np.arange(tokens)
    hidden = (apart < 0) | (apart >= (window or tokens))
    weights = np.where(hidden, 0, np.exp(scores))
    return weights / weights.sum(-1, keepdims=True)


def made_up(*, tokens: int = 20, bins: int = 5, top_k: int = 3, small: Any = np.float16) -> Attention:
    """Return an attention of a local and a global layer with two of four heads, rows and towers."""
    edges = np.linspace(0, tokens, bins + 1).astype(np.int64)
    layers = (
        HeadLayout(3, "local", 6, 4, 2, 16),
        HeadLayout(7, "global", None, 4, 1, 32, kv_shared_from=5, k_eq_v=True),
    )
    whole = [whole_rows(tokens=tokens, window=layout.window, seed=layout.layer) for layout in layers]
    bands, behind = {}, {}
    for layout, rows in zip(layers, whole, strict=True):
        pooled = np.add.reduceat(np.add.reduceat(rows, edges[:-1], 1), edges[:-1], 2)
        pooled = (pooled / np.diff(edges)[:, None]).astype(np.float32)
        back, ahead = band_extent(pooled)
        bands[layout.layer], behind[layout.layer] = to_band(pooled, before=back, after=ahead), back
    stacked = np.stack(whole).swapaxes(1, 2)  # layers, tokens, heads, keys
    keys = np.argsort(-stacked, -1, kind="stable")[..., :top_k].astype(np.int32)
    weights = np.take_along_axis(stacked, keys, -1).astype(np.float32)
    places = np.arange(tokens)
    first_half = stacked[..., : tokens // 2].sum(-1)
    numbers = {
        "entropy": -(stacked * np.log(np.where(stacked > 0, stacked, 1))).sum(-1).astype(small),
        "first_token_mass": stacked[..., 0].astype(small),
        "distance": (stacked * np.abs(places[:, None, None] - places)).sum(-1).astype(np.float32),
        "mass_by_label": np.stack([first_half, 1 - first_half], 2).clip(0, 1).astype(small),
        "keys": np.where(weights > 0, keys, -1),
        "weights": weights,
    }
    exact = {
        (layout.layer, 11): (0, whole[n][:, 11, :12].astype(np.float32)) for n, layout in enumerate(layers)
    }
    exact[3, 11] = (6, np.ascontiguousarray(exact[3, 11][1][:, 6:]))
    picture = Tower(np.full((2, 3, 4, 4), 0.25, np.float32), np.arange(16, dtype=np.int32).reshape(4, 4), 36)
    sound = Tower(np.full((2, 2, 2, 2), 0.5, np.float32), np.int32([[0, 5], [5, 9]]), 9)
    return Attention(
        layers=layers,
        heads=(0, 2),
        tokens=tokens,
        bin_edges=edges,
        labels=("modality:text", "modality:image"),
        bands=bands,
        bins_before=behind,
        per_query=numbers,
        full_rows=exact,
        towers={"vision": (picture, picture), "audio": (sound,)},
    )

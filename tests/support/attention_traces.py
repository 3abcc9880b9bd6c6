"""Attention made up for the tests of the attention explorer: invented heads, summed up as a probe would.

`dense` reduces rows of softmax in the plainest way; `sparse` invents the sums of a text too long for rows.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
from support.routing_traces import arabic_trace, hostile_trace, long_trace, picture_trace, sound_trace

from gemma_lab.trace.records.attention import Attention, HeadLayout
from gemma_lab.trace.records.attention_bands import band_extent, to_band
from gemma_lab.trace.records.attention_checks import check_attention
from gemma_lab.trace.records.features import Features
from gemma_lab.trace.records.logit_lens import LogitLens
from gemma_lab.trace.trace import Trace


def layout(
    layers: int, heads: int, *, window: int | None = None, shared: int = 0, every: int = 6
) -> tuple[HeadLayout, ...]:
    """Return layers in Gemma 4's pattern; the last `shared` reuse a donor's keys."""
    made = []
    for layer in range(layers):
        kind = "global" if layer % every == every - 1 or layer == layers - 1 else "local"
        donors = [
            one.layer
            for one in made
            if one.kind == kind and one.kv_shared_from is None and one.layer < layers - shared
        ]
        kv_shared_from = donors[-1] if layer >= layers - shared and donors else None
        kv = max(1, heads // 2) if kind == "local" else 1
        made.append(
            HeadLayout(
                layer,
                kind,
                window if kind == "local" else None,
                heads,
                kv,
                32,
                kv_shared_from,
                kind == "global",
            )
        )
    return tuple(made)


def rows_of(tokens: int, *, head: int, window: int | None, seed: int, sink: float = 2.5) -> np.ndarray:
    """Return ``[tokens, tokens]`` rows of one head, which likes its neighbours or tokens alike."""
    random = np.random.default_rng(seed)
    back = np.arange(tokens)[:, None] - np.arange(tokens)[None]
    seen = (back >= 0) & (back < (window or tokens))
    like = random.standard_normal((tokens, 6)) @ random.standard_normal((6, 6))
    logits = 0.9 * (like @ like.T) / 6
    if head % 3 == 0:
        logits += 4.5 * (back == 1 + head // 3)
    elif head % 3 == 1:
        logits -= back / 6
    logits[:, 0] += sink + 2
    logits = np.where(seen, logits, -np.inf)
    rows = np.exp(logits - logits.max(axis=1, keepdims=True))
    return (rows / rows.sum(axis=1, keepdims=True)).astype(np.float32)


def dense(
    trace: Trace, *, layers: int = 6, heads: int = 4, window: int | None = 24, shared: int = 0,
    bins: int = 128, top_k: int = 8, rows: tuple[int, ...] = (), seed: int = 0,
) -> Attention:  # fmt: skip
    """Return the attention of invented rows over a trace's tokens."""
    total = len(trace)
    laid = layout(layers, heads, window=window, shared=shared)

    def of(one: HeadLayout) -> np.ndarray:
        seeds = [(head, seed + 97 * one.layer + head) for head in range(heads)]
        return np.stack([rows_of(total, head=head, window=one.window, seed=at) for head, at in seeds])

    return of_rows(trace, laid, of, bins=bins, top_k=top_k, rows=rows)


def of_rows(
    trace: Trace, laid: tuple[HeadLayout, ...], rows_of_layer: Any, *, bins: int = 128, top_k: int = 8,
    rows: tuple[int, ...] = (),
) -> Attention:  # fmt: skip
    """Return the sums of whole rows; `rows_of_layer` gives ``[heads, tokens, tokens]`` of a layout."""
    total = len(trace)
    edges = np.unique(np.linspace(0, total, min(bins, total) + 1).round().astype(np.int64))
    labels = tuple(f"modality:{kind}" for kind in sorted(set(trace.tokens.modalities.tolist())))
    masks = np.stack([trace.tokens.modalities == label.removeprefix("modality:") for label in labels])
    kept, whole = {}, {}
    for one in laid:
        every = rows_of_layer(one)
        kept[one.layer] = _reduced(every, edges, masks, top_k)
        whole |= {(one.layer, query): (0, every[:, query, : query + 1]) for query in rows}
    return _made(laid, total, edges, kept, labels, whole)


def _made(
    laid: tuple[HeadLayout, ...], total: int, edges: Any, kept: dict[int, Any], labels: Any, whole: Any
) -> Attention:
    names = [
        name
        for name in ("entropy", "first_token_mass", "distance", "mass_by_label", "keys", "weights")
        if name in kept[0]
    ]
    numbers = {name: np.stack([kept[one.layer][name] for one in laid]) for name in names}
    bands, behind = {}, {}
    for one in laid:
        before, after = band_extent(kept[one.layer]["maps"])
        bands[one.layer] = to_band(kept[one.layer]["maps"], before=before, after=after)
        behind[one.layer] = before
    made = Attention(
        laid, tuple(range(laid[0].heads)), total, edges, labels, bands, behind, numbers, full_rows=whole
    )
    check_attention(made)
    return made


def _reduced(rows: np.ndarray, edges: np.ndarray, masks: np.ndarray, top_k: int) -> dict[str, Any]:
    total = rows.shape[-1]
    summed = np.add.reduceat(rows, edges[:-1], axis=2)
    maps = np.add.reduceat(summed, edges[:-1], axis=1) / np.diff(edges)[:, None]
    keys = np.argsort(-rows, axis=-1, kind="stable")[..., : min(top_k, total)]
    weights = np.take_along_axis(rows, keys, -1)
    back = np.abs(np.arange(total)[:, None] - np.arange(total)[None])
    with np.errstate(divide="ignore", invalid="ignore"):
        entropy = -np.nansum(np.where(rows > 0, rows * np.log(rows), 0), axis=-1)
    return {
        "maps": maps.astype(np.float32),
        "keys": np.where(weights > 0, keys, -1).astype(np.int32).swapaxes(0, 1),
        "weights": weights.astype(np.float32).swapaxes(0, 1),
        "entropy": np.maximum(entropy, 0).astype(np.float16).T,
        "first_token_mass": rows[..., 0].astype(np.float16).T,
        "distance": (rows * back).sum(-1).astype(np.float16).T,
        "mass_by_label": np.einsum("hqk,mk->qmh", rows, masks).clip(0, 1).astype(np.float16),
    }


def sparse(
    trace: Trace, *, layers: int = 6, heads: int = 4, window: int = 1024, bins: int = 128, top_k: int = 8
) -> Attention:
    """Return sums that nobody computed from rows, for texts of any length."""
    total, random = len(trace), np.random.default_rng(3)
    edges = np.linspace(0, total, min(bins, total) + 1).round().astype(np.int64)
    laid, kept = layout(layers, heads, window=window), {}
    middle = (edges[1:] + edges[:-1]) / 2
    back = middle[:, None] - middle[None]
    for one in laid:
        size = np.diff(edges)[None]
        maps = np.exp(random.standard_normal((heads, len(middle), len(middle)))) * size * (back >= 0)
        maps *= (
            np.exp(-back.clip(0) / (total / 6))[None] if one.window is None else (back <= one.window)[None]
        )
        maps *= 0.5 / maps.sum(-1, keepdims=True)
        maps[:, :, 0] += 0.5
        seen = np.minimum(np.arange(total), (one.window or total) - 1)[:, None]
        keys = np.arange(total)[:, None, None] - (
            random.random((total, heads, top_k)) ** 3 * (seen[..., None] + 1)
        ).astype(np.int32)
        fall = np.broadcast_to(0.5 ** np.arange(1, top_k + 1, dtype=np.float32), keys.shape).copy()
        repeated = np.zeros(keys.shape, bool)
        for rank in range(1, top_k):
            repeated[..., rank] = (keys[..., :rank] == keys[..., rank : rank + 1]).any(-1)
        order = np.argsort(repeated, axis=-1, kind="stable")  # what is repeated has no weight, and comes last
        keys = np.take_along_axis(np.where(repeated, -1, keys), order, -1).astype(np.int32)
        half = np.full((total, heads), 0.5, np.float16)
        kept[one.layer] = {
            "maps": maps.astype(np.float32),
            "keys": keys,
            "weights": np.where(keys < 0, 0, fall).astype(np.float16),
            "entropy": 2 * half,
            "first_token_mass": half,
            "distance": half,
            "mass_by_label": 2 * half[:, None],
        }
    return _made(laid, total, edges, kept, ("modality:text",), {})


def attended(trace: Trace, attention: Attention) -> Trace:
    """Return a trace that carries an attention."""
    return dataclasses.replace(trace, attention=attention)


def arabic(**options: Any) -> Trace:
    trace = arabic_trace()
    return attended(trace, dense(trace, **options))


def picture(**options: Any) -> Trace:
    trace = picture_trace()
    return attended(trace, dense(trace, **{"window": 64} | options))


def sound(**options: Any) -> Trace:
    trace = sound_trace()
    return attended(trace, dense(trace, **options))


def hostile(**options: Any) -> Trace:
    trace = hostile_trace()
    return attended(trace, dense(trace, **options))


def text(tokens: int, **options: Any) -> Trace:
    """Return a text whose rows were all computed: some hundred tokens."""
    trace = dataclasses.replace(long_trace(tokens, layers=1), routing=None)
    return attended(trace, dense(trace, **options))


def long(tokens: int, **options: Any) -> Trace:
    """Return a text of any length."""
    trace = dataclasses.replace(long_trace(8, layers=1), routing=None)
    times = -(-tokens // 8)
    many = {
        one.name: np.tile(
            getattr(trace.tokens, one.name), (times, *[1] * (getattr(trace.tokens, one.name).ndim - 1))
        )[:tokens]
        for one in dataclasses.fields(trace.tokens)
    }
    many["clusters"] = np.arange(tokens, dtype=np.int32)
    trace = dataclasses.replace(trace, tokens=type(trace.tokens)(**many))
    return attended(trace, sparse(trace, **options))


WORDS = {1: " seven", 2: "<turn|>", 3: " نجمة", 4: "<img src=x onerror=alert(9)>"}


def lens_of(trace: Trace, *, layers: int = 6, seed: int = 0) -> LogitLens:
    """Return a lens at the answer and the token before it: the deeper the layer, the surer of `` seven``."""
    written = np.flatnonzero(trace.tokens.generated)
    positions = np.arange(written[0] - 1, len(trace), dtype=np.int32)
    ids = np.zeros((layers, len(positions), 3), dtype=np.int32)
    logprobs = np.zeros(ids.shape, dtype=np.float32)
    ranks = np.zeros((layers, len(positions), 1), dtype=np.int32)
    for layer in range(layers):
        order = [1, 2, 3] if layer >= layers // 2 else [4, 1, 2]
        first = 0.4 + 0.59 * layer / layers
        ids[layer], logprobs[layer] = order, np.log([first, (1 - first) * 0.6, (1 - first) * 0.3])
        ranks[layer] = order.index(1)
    return LogitLens(
        tuple(range(layers)),
        positions,
        ids,
        logprobs,
        np.ones((len(positions), 1), dtype=np.int32),
        ranks,
        np.take_along_axis(logprobs, ranks, 2),
        WORDS,
    )


def behind(trace: Trace, **options: Any) -> Trace:
    """Return a trace with attention, routing and lens."""
    return dataclasses.replace(trace, attention=dense(trace, **options), logit_lens=lens_of(trace))


def with_features(trace, **change):
    """Return a trace with features of an SAE: feature 7 at every third token."""
    count = len(trace)
    third = np.arange(count) % 3 == 0
    features = Features(
        sae="an SAE", layer=1, features=10, ids=np.where(third, 7, -1)[:, None].astype(np.int32),
        activations=np.where(third, 1 + np.arange(count), 0)[:, None].astype(np.float32),
        active=third.astype(np.int32), squared_errors=np.ones(count, np.float32),
        counted=np.arange(count) > 0,
        **({"total_variance": 10.0 * count, "min_variance_explained": 0.5} | change),
    )  # fmt: skip
    return dataclasses.replace(trace, features=features)

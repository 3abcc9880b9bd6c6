"""Eager attention as the reference: every row that a model computes, and its summaries by definition."""

from __future__ import annotations

from contextlib import ExitStack
from itertools import pairwise
from typing import Any, Self

import numpy as np

from gemma_lab.trace.probes.model_modules import attentions


class EagerRows:
    """Keeps the weights that eager attention returns while a ``with`` block runs a model, pass by pass."""

    def __init__(self, model: Any) -> None:
        self.model = model
        self.passes: dict[int, list[np.ndarray]] = {}

    def __enter__(self) -> Self:
        self._before = {id(m.config): m.config for m in attentions(self.model).values()}
        for config in self._before.values():
            config._attn_implementation_internal = "eager"
        self._hooks = ExitStack()
        for layer, module in attentions(self.model).items():
            self.passes[layer] = []
            self._hooks.callback(module.register_forward_hook(self._keep(layer)).remove)
        return self

    def __exit__(self, *_: object) -> None:
        self._hooks.close()
        for config in self._before.values():
            config._attn_implementation_internal = "sdpa"

    def _keep(self, layer: int):
        def hook(_module, _args, output):
            self.passes[layer].append(output[1].detach().double().numpy())

        return hook

    def whole(self, layer: int, *, row: int = 0, real: np.ndarray | None = None) -> np.ndarray:
        """Return float64 ``[heads, tokens, tokens]``: all passes of one sequence, padding left out."""
        lengths = [weights.shape[2] for weights in self.passes[min(self.passes)]]
        total, heads = sum(lengths), self.passes[layer][0].shape[1]
        found, start, passes = np.zeros((heads, total, total)), 0, list(self.passes[layer])
        for length in lengths:
            weights = passes.pop(0)
            if weights.shape[2] < length:  # a KV-shared tail: the last row alone, then all of them
                weights = passes.pop(0)
            assert weights.shape[2] == length
            last = start + length
            first = max(0, last - weights.shape[3])
            found[:, start:last, first:last] = weights[row, :, :, : last - first]
            start = last
        assert not passes
        return found if real is None else found[:, real][:, :, real]


def differences(found: Any, layer: int, rows: np.ndarray) -> dict[str, float]:
    """Return how far every summary of a layer is from that of whole rows ``[heads, tokens, tokens]``."""
    places = np.arange(rows.shape[-1])
    keys, weights = found.top_keys(layer)
    k = min(keys.shape[-1], rows.shape[-1])
    ordered = -np.sort(-rows, -1)[:, :, :k]
    at_keys = np.where(keys < 0, 0, np.take_along_axis(rows, np.maximum(keys, 0), -1))
    by_key = np.stack([rows[:, :, a:b].sum(-1) for a, b in pairwise(found.bin_edges)], -1)
    pooled = np.stack([by_key[:, a:b].mean(1) for a, b in pairwise(found.bin_edges)], 1)
    entropy = -(rows * np.log(np.where(rows > 0, rows, 1))).sum(-1)
    distance = (rows * np.abs(places[:, None] - places)).sum(-1)
    exact = [0.0]
    for query in found.rows:
        row = found.row(layer, query)
        exact.append(np.abs(row - rows[:, query, : row.shape[1]]).max())
        exact.append(rows[:, query, row.shape[1] :].sum())
    return {
        "maps": np.abs(found.pooled(layer) - pooled).max(),
        "entropy": np.abs(found.entropy(layer) - entropy).max(),
        "first": np.abs(found.first_token_mass(layer) - rows[:, :, 0]).max(),
        "distance": (np.abs(found.distance(layer) - distance) / np.maximum(1, distance)).max(),
        "weights": np.abs(weights[..., :k] - ordered).max(),
        "keys": np.abs(weights - at_keys).max(),
        "rows": max(exact),
    }

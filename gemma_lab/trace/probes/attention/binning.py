"""Pooled attention maps of a sequence of unknown length: bins are merged in pairs when the maps are full."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from .reductions import Pooled

Array = np.ndarray[Any, np.dtype[Any]]


class Bins:
    """Sums of attention by bins of queries and keys, for one sequence.

    Parameters
    ----------
    limit
        Maximum number of bins per side of a map.
    expected
        Expected number of tokens, for the initial width of a bin.

    Attributes
    ----------
    width
        Current number of tokens per bin; the last bin may have fewer.
    """

    def __init__(self, *, limit: int, expected: int) -> None:
        self.limit = limit
        self.width = max(1, -(-expected // limit))
        self._sums: dict[int, torch.Tensor] = {}

    def fit(self, tokens: int) -> None:
        """Double the width of the bins until the maps cover `tokens` tokens."""
        while tokens > self.width * self.limit:
            self.width *= 2
            for sums in self._sums.values():
                half = -(-self.limit // 2)
                even = torch.nn.functional.pad(sums, (0, 2 * half - self.limit, 0, 2 * half - self.limit))
                paired = even.view(sums.shape[0], half, 2, half, 2).sum(dim=(2, 4))
                sums.zero_()
                sums[:, :half, :half] = paired

    def add(self, layer: int, first: int, start: int, part: torch.Tensor) -> None:
        """Add sums ``[heads, bins, bins]`` from bin `first` of the queries and bin `start` of the keys on."""
        part = part[:, :, : self.limit - start]  # beyond the map there is only padding, which is zero
        self._map(layer, part)[:, first : first + part.shape[1], start : start + part.shape[2]] += part

    def put(self, layer: int, part: Pooled) -> None:
        """Add the pooled sums of a batch of query blocks."""
        heads, blocks, high, wide = part.sums.shape
        if blocks == 1:
            self.add(layer, part.queries[0], part.keys[0], part.sums[:, 0])
            return
        device = part.sums.device
        rows = torch.tensor(part.queries, device=device)[:, None] + torch.arange(high, device=device)
        keys = torch.tensor(part.keys, device=device)[:, None] + torch.arange(wide, device=device)
        # sums outside of the map are zero, so clamping their indices is harmless
        columns = keys.clamp_(0, self.limit - 1)[:, None]
        at = rows.clamp_max_(self.limit - 1)[:, :, None] * self.limit + columns
        at = at + torch.arange(heads, device=device)[:, None, None, None] * self.limit**2
        self._map(layer, part.sums).view(-1).index_add_(0, at.flatten(), part.sums.flatten())

    def result(self, tokens: int) -> tuple[Array, dict[int, Array]]:
        """Return the edges of the bins, int64, and the means by layer, float32 ``[heads, bins, bins]``."""
        self.fit(tokens)  # without maps, `fit` was not called before
        count = -(-tokens // self.width)
        edges = np.minimum(np.arange(count + 1, dtype=np.int64) * self.width, tokens)
        sizes = np.diff(edges).astype(np.float32)[:, None]
        return edges, {
            layer: sums[:, :count, :count].cpu().numpy() / sizes for layer, sums in self._sums.items()
        }

    def _map(self, layer: int, part: torch.Tensor) -> torch.Tensor:
        if layer not in self._sums:
            self._sums[layer] = part.new_zeros((part.shape[0], self.limit, self.limit))
        return self._sums[layer]

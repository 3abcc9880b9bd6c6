"""Maps that grow with a sequence whose length nobody knows yet: when they are full, bins are paired."""

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
    most
        How many bins there are at most.
    expected
        How many tokens to make room for at first.

    Attributes
    ----------
    width
        Tokens in a bin now; the last one may have fewer.
    """

    def __init__(self, *, most: int, expected: int) -> None:
        self.most = most
        self.width = max(1, -(-expected // most))
        self._sums: dict[int, torch.Tensor] = {}

    def fit(self, tokens: int) -> None:
        """Make room for so many tokens: bins are joined two by two as often as it takes."""
        while tokens > self.width * self.most:
            self.width *= 2
            for sums in self._sums.values():
                half = -(-self.most // 2)
                even = torch.nn.functional.pad(sums, (0, 2 * half - self.most, 0, 2 * half - self.most))
                paired = even.view(sums.shape[0], half, 2, half, 2).sum(dim=(2, 4))
                sums.zero_()
                sums[:, :half, :half] = paired

    def add(self, layer: int, first: int, start: int, part: torch.Tensor) -> None:
        """Add sums ``[heads, bins, bins]`` whose first bin of queries is `first`, and of keys `start`."""
        part = part[:, :, : self.most - start]  # what goes beyond is padding, and zero
        self._map(layer, part)[:, first : first + part.shape[1], start : start + part.shape[2]] += part

    def put(self, layer: int, part: Pooled) -> None:
        """Add the sums of some blocks of queries."""
        heads, blocks, high, wide = part.sums.shape
        if blocks == 1:
            self.add(layer, part.queries[0], part.keys[0], part.sums[:, 0])
            return
        device = part.sums.device
        rows = torch.tensor(part.queries, device=device)[:, None] + torch.arange(high, device=device)
        keys = torch.tensor(part.keys, device=device)[:, None] + torch.arange(wide, device=device)
        # what lies outside of the map is zero, wherever it goes
        at = rows.clamp_max_(self.most - 1)[:, :, None] * self.most + keys.clamp_(0, self.most - 1)[:, None]
        at = at + torch.arange(heads, device=device)[:, None, None, None] * self.most**2
        self._map(layer, part.sums).view(-1).index_add_(0, at.flatten(), part.sums.flatten())

    def result(self, tokens: int) -> tuple[Array, dict[int, Array]]:
        """Return the edges of the bins, int64, and by layer the means, float32 ``[heads, bins, bins]``."""
        self.fit(tokens)  # nobody asked for room where no maps were added
        count = -(-tokens // self.width)
        edges = np.minimum(np.arange(count + 1, dtype=np.int64) * self.width, tokens)
        sizes = np.diff(edges).astype(np.float32)[:, None]
        return edges, {
            layer: sums[:, :count, :count].cpu().numpy() / sizes for layer, sums in self._sums.items()
        }

    def _map(self, layer: int, part: torch.Tensor) -> torch.Tensor:
        if layer not in self._sums:
            self._sums[layer] = part.new_zeros((part.shape[0], self.most, self.most))
        return self._sums[layer]

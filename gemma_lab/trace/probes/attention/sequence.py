"""Locate the tokens of one sequence of a batch among the positions that a model reads and caches."""

from __future__ import annotations

from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class TokenSlice:
    """The real tokens among the queries and keys of one layer in one pass.

    Attributes
    ----------
    queries, keys
        Their indices along the layer's axes: a range if they are contiguous, else a tensor.
    first_query, first_key
        Token number of the first query and of the first key; the others follow without gaps.
    """

    queries: range | torch.Tensor
    keys: range | torch.Tensor
    first_query: int
    first_key: int

    def pick(self, tensor: torch.Tensor, *, queries: bool) -> torch.Tensor:
        """Select the tokens of a tensor ``[heads, queries or keys, dim]``."""
        return _pick(tensor, self.queries if queries else self.keys, 1)

    def pick_mask(self, mask: torch.Tensor) -> torch.Tensor:
        """Select the tokens of a mask ``[heads, queries, keys]``."""
        return _pick(_pick(mask, self.queries, 1), self.keys, 2)


class SequenceTracker:
    """Count the positions and tokens of one sequence over the passes of a model.

    Attributes
    ----------
    tokens
        Number of tokens without padding, including those of the current pass.
    new
        Number of tokens in the current pass.
    """

    def __init__(self) -> None:
        self.tokens = self.new = 0
        self._positions = self._length = 0
        self._real: torch.Tensor | None = None  # mask of all positions; None while there is no padding

    def begin(self, length: int, real: torch.Tensor | None) -> int:
        """Begin a pass of `length` positions; return how many of them are tokens."""
        self._length = length
        if real is not None or self._real is not None:
            before = torch.ones(self._positions, dtype=torch.bool) if self._real is None else self._real
            now = torch.ones(length, dtype=torch.bool) if real is None else real
            self._real = torch.cat([before, now])
        self.new = length if real is None else int(real.sum())
        self._positions += length
        self.tokens += self.new
        return self.new

    def end(self) -> None:
        """End the current pass and keep its positions."""
        self._length = self.new = 0

    def abandon(self) -> None:
        """Discard the current pass."""
        self._positions -= self._length
        self.tokens -= self.new
        if self._real is not None:
            self._real = self._real[: self._positions]
        self.end()

    def token_slice(self, keys: int) -> TokenSlice:
        """Return the tokens of the current pass in a layer that has `keys` keys.

        The keys are the latest positions; a static cache also has unused positions after them.
        """
        offset, before = max(0, self._positions - keys), self._positions - self._length
        if self._real is None:
            return TokenSlice(range(self._length), range(self._positions - offset), before, offset)
        return TokenSlice(
            queries=_indices(self._real[before:]),
            keys=_indices(self._real[offset:]),
            first_query=int(self._real[:before].sum()),
            first_key=int(self._real[:offset].sum()),
        )


def _indices(real: torch.Tensor) -> range | torch.Tensor:
    indices = real.nonzero().flatten()
    if not len(indices):
        return range(0)
    first, stop = int(indices[0]), int(indices[-1]) + 1
    return range(first, stop) if stop - first == len(indices) else indices


def _pick(tensor: torch.Tensor, indices: range | torch.Tensor, axis: int) -> torch.Tensor:
    if isinstance(indices, range):
        return tensor.narrow(axis, indices.start, len(indices))
    return tensor.index_select(axis, indices.to(tensor.device))

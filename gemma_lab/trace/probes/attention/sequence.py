"""Where the tokens of one sequence of a batch lie among the positions that a model reads and caches."""

from __future__ import annotations

from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class TokenSlice:
    """The real tokens among the queries and keys of one layer in one pass.

    Attributes
    ----------
    queries, keys
        Their places along the layer's axes: a range where they lie together, else a tensor.
    first_query, first_key
        The token number of the first of each; they count on from there.
    """

    queries: range | torch.Tensor
    keys: range | torch.Tensor
    first_query: int
    first_key: int

    def pick(self, tensor: torch.Tensor, *, queries: bool) -> torch.Tensor:
        """Return the real ones of ``[heads, queries or keys, dim]``."""
        return _pick(tensor, self.queries if queries else self.keys, 1)

    def pick_mask(self, mask: torch.Tensor) -> torch.Tensor:
        """Return the real part of a mask ``[heads, queries, keys]``."""
        return _pick(_pick(mask, self.queries, 1), self.keys, 2)


class SequenceTracker:
    """Counts the positions and tokens of one sequence, pass by pass.

    Attributes
    ----------
    tokens
        Real ones, those of the pass under way included.
    new
        How many of them the pass brings.
    """

    def __init__(self) -> None:
        self.tokens = self.new = 0
        self._positions = self._length = 0
        self._real: torch.Tensor | None = None  # of all positions, once there is padding

    def begin(self, length: int, real: torch.Tensor | None) -> int:
        """Begin a pass of so many positions; return how many of them are tokens."""
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
        """Keep the pass: it is over."""
        self._length = self.new = 0

    def abandon(self) -> None:
        """Take the pass back that was under way."""
        self._positions -= self._length
        self.tokens -= self.new
        if self._real is not None:
            self._real = self._real[: self._positions]
        self.end()

    def token_slice(self, keys: int) -> TokenSlice:
        """Return where the tokens are in a layer that has so many keys.

        The keys are the latest positions; a static cache has room for later ones behind them.
        """
        offset, before = max(0, self._positions - keys), self._positions - self._length
        if self._real is None:
            return TokenSlice(range(self._length), range(self._positions - offset), before, offset)
        return TokenSlice(
            _places(self._real[before:]), _places(self._real[offset:]),
            int(self._real[:before].sum()), int(self._real[:offset].sum()),
        )  # fmt: skip


def _places(real: torch.Tensor) -> range | torch.Tensor:
    found = real.nonzero().flatten()
    if not len(found):
        return range(0)
    first, last = int(found[0]), int(found[-1]) + 1
    return range(first, last) if last - first == len(found) else found


def _pick(tensor: torch.Tensor, places: range | torch.Tensor, axis: int) -> torch.Tensor:
    if isinstance(places, range):
        return tensor.narrow(axis, places.start, len(places))
    return tensor.index_select(axis, places.to(tensor.device))

"""Reduce the attention rows of a batch of blocks: statistics, top keys, pooled sums, complete rows.

Axes are named as in `gemma_lab.trace.probes.attention.rows`.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch

from .top_keys import top_keys

#: Up to this many runs of equal labels, sums over the runs are faster than a matrix product.
_RUNS = 16
#: Up to this many queries, the mean distance is a matrix product; with more, a difference would lose digits.
_FEW = 32
#: Columns to which a matrix product is padded: with fewer it is slower.
_COLUMNS = 16


@dataclass(frozen=True)
class Pooled:
    """Part of a map: sums of weights by bins.

    Attributes
    ----------
    sums
        float32 ``[heads, blocks, bins, bins]``: queries by keys. Bins beyond the map are zero.
    queries, keys
        The first bin of each block.
    """

    sums: torch.Tensor
    queries: Sequence[int]
    keys: Sequence[int]


class BlockReduction:
    """A batch of blocks of one layer: scores, which `statistics` overwrites, and weights.

    Parameters
    ----------
    scores
        ``[kv, block, group, q, k]``; they are overwritten.
    out
        Memory for the weights, of the same shape.
    first_key, first_query
        Token numbers of the first block; those of the next are a block's queries later. Keys before 0 are
        hidden.
    sees_future
        Whether a query sees a later key than itself.
    """

    def __init__(
        self, scores: torch.Tensor, out: torch.Tensor, first_key: int, first_query: int, *, sees_future: bool
    ) -> None:
        self.first_key, self.first_query, self.sees_future = first_key, first_query, sees_future
        self.blocks, self.queries, self.span = scores.shape[1], scores.shape[3], scores.shape[4]
        self.scores = scores
        # not exp(): what underflows takes that ten times as long on a CPU, and half of a local block does
        self.weights = torch.softmax(scores, dim=-1, out=out)
        self.rows = self.weights.view(-1, self.span)

    def statistics(
        self,
        numbers: dict[str, torch.Tensor],
        labels: torch.Tensor,
        runs: Sequence[int],
        largest: tuple[torch.Tensor, torch.Tensor] | None,
    ) -> None:
        """Compute the requested statistics of every row, in place.

        Parameters
        ----------
        numbers
            Arrays of `gemma_lab.trace.probes.attention.rows.RowResult`, for these queries.
        labels, runs
            See `gemma_lab.trace.probes.attention.rows.RowRequest`.
        largest
            The largest weight of each row and its index, ``[…, 1]``, if known.
        """
        weights = self.weights
        largest_weight, place = weights.max(dim=-1, keepdim=True) if largest is None else largest
        # -Σ p log p, where log p = score - log Σ exp(score); the last term follows from the largest weight
        total = self.scores.gather(-1, place).sub_(largest_weight.log())
        self._fill(numbers["entropy"], total[..., 0].sub_(self.scores.mul_(weights).sum(dim=-1)))
        sums = self.rows.sum(dim=-1).view(weights.shape[:-1])
        self._fill(numbers["distance"], self._distance(sums))
        for block in range(self.blocks):
            first = -self.first_key - block * self.queries
            if 0 <= first < self.span:
                theirs = numbers["first_token_mass"][block * self.queries : (block + 1) * self.queries]
                theirs.copy_(weights[:, block, :, :, first].flatten(0, 1).T)
        if labels.shape[1]:
            self._fill(numbers["mass_by_label"].transpose(1, 2), self._mass(labels, runs, sums))

    def top(self, k: int, numbers: dict[str, torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
        """Store the top keys of every row in `numbers`; return the largest weight and its index."""
        values, places = top_keys(self.weights, min(k, self.span))
        firsts = torch.arange(self.blocks, device=places.device) * self.queries + self.first_key
        keys = places + firsts.view(-1, 1, 1, 1)
        k = keys.shape[-1]
        self._fill(numbers["keys"][..., :k], keys)
        self._fill(numbers["weights"][..., :k], values)
        return values[..., :1], places[..., :1]

    def pool(self, width: int) -> Pooled:
        """Return the sums of weights by bins of `width` tokens."""
        kv_heads, blocks, groups, count, span = self.weights.shape
        starts = range(self.first_query, self.first_query + blocks * count, count)
        firsts = range(self.first_key, self.first_key + blocks * count, count)
        queries, keys = [start // width for start in starts], [first // width for first in firsts]
        bins = max((start + count - 1) // width + 1 - start // width for start in starts)
        if bins == 1:
            rows = self.weights.sum(dim=3, keepdim=True)
        elif count % width == 0 and self.first_query % width == 0:
            rows = self.weights.view(kv_heads, blocks, groups, bins, width, span).sum(dim=4)
        else:
            belongs = self._bins(starts, count, width, bins)
            rows = torch.matmul(belongs.transpose(1, 2)[:, None], self.weights)
        left = self.first_key % width
        if blocks == 1 or count % width == 0:
            rows = torch.nn.functional.pad(rows, (left, -(left + span) % width))
            sums = rows.view(*rows.shape[:-1], -1, width).sum(dim=-1)
        else:
            key_bins = max((first + span - 1) // width + 1 - first // width for first in firsts)
            sums = torch.matmul(rows, self._bins(firsts, span, width, key_bins)[:, None])
        return Pooled(sums.transpose(1, 2).flatten(0, 1), queries, keys)

    def row(self, query: int) -> tuple[int, torch.Tensor]:
        """Return the first key and the weights ``[heads, keys]`` of a query, counted from the first."""
        block, query = divmod(query, self.queries)
        first = self.first_key + block * self.queries
        before = max(0, -first)
        return first + before, self.weights[:, block, :, query, before:].flatten(0, 1).clone()

    def _fill(self, numbers: torch.Tensor, values: torch.Tensor) -> None:
        """Write ``[kv, block, group, q, …]`` to ``[queries, heads, …]``."""
        kv_heads, blocks, groups, queries = values.shape[:4]
        target = numbers.view(blocks, queries, kv_heads, groups, *values.shape[4:])
        target.copy_(values.permute(1, 3, 0, 2, *range(4, values.ndim)))

    def _distance(self, sums: torch.Tensor) -> torch.Tensor:
        device, middle = self.weights.device, self.queries // 2
        # keys and queries both count from the middle of their block, so that float32 suffices
        queries = torch.arange(-middle, self.queries - middle, device=device, dtype=torch.float32)
        first = self.first_key - self.first_query - middle
        keys = torch.arange(first, first + self.span, device=device, dtype=torch.float32)
        if self.sees_future or self.queries > _FEW:
            far: torch.Tensor = torch.linalg.vecdot(self.weights, (queries[:, None] - keys).abs_())
            return far
        back = torch.mv(self.rows, keys.neg_()).view(sums.shape)
        return torch.addcmul(back, sums, queries)

    def _mass(self, labels: torch.Tensor, runs: Sequence[int], sums: torch.Tensor) -> torch.Tensor:
        """Return the weights by label, ``[…, labels]``."""
        first = max(0, self.first_key)
        last = min(self.first_key + (self.blocks - 1) * self.queries + self.span, labels.shape[0])
        edges = [first, *runs[bisect_right(runs, first) : bisect_left(runs, last)], last]
        if len(edges) == 2:
            return sums[..., None] * labels[first]
        if self.blocks > 1:
            return self._product(labels)
        if len(edges) > _RUNS:
            return self.weights[..., first - self.first_key : last - self.first_key] @ labels[first:last]
        parts = [
            self.weights[..., a - self.first_key : b - self.first_key].sum(dim=-1) for a, b in pairwise(edges)
        ]  # a few sums are faster than a product
        return torch.stack(parts, dim=-1) @ labels[edges[:-1]]

    def _product(self, labels: torch.Tensor) -> torch.Tensor:
        places = torch.arange(self.span, device=labels.device) + self.first_key
        places = places + torch.arange(self.blocks, device=labels.device)[:, None] * self.queries
        known = (places >= 0) & (places < labels.shape[0])
        theirs = labels[places.clamp(0, labels.shape[0] - 1)] * known[..., None]
        count = labels.shape[1]
        theirs = torch.nn.functional.pad(theirs, (0, max(0, _COLUMNS - count)))
        return torch.matmul(self.weights, theirs[:, None])[..., :count]

    def _bins(self, starts: Sequence[int], count: int, width: int, bins: int) -> torch.Tensor:
        """Return 1 where a token lies in a bin, ``[blocks, tokens, bins]``; bins count from each start's."""
        device = self.weights.device
        first = torch.tensor(starts, device=device)[:, None]
        own = (first + torch.arange(count, device=device)) // width - first // width
        return (own[..., None] == torch.arange(bins, device=device)).float()

"""Recompute one layer's attention rows block by block, and keep only summaries.

Scores and their softmax are computed in float32 for every dtype of the model, as fused kernels do: scores
rounded to bfloat16 would move weights by percents. No tensor of all queries by all keys is made.

Axes, always in this order: ``kv`` (key-value heads), ``block`` (blocks of a batch), ``group``
(query heads of a key-value head), ``q`` (queries of a block), ``k`` (keys of a block).

A batch of blocks, by the example of a local layer with a window of 4, blocks of 2 queries and 8 tokens::

    keys      0 1 2 3 4 5 6 7
    q 0, 1  . . . x x             block 0: keys −3 to 1, of which −3 to −1 do not exist
    q 2, 3      . x x x x         block 1: keys −1 to 3, two further on, as are its queries
    q 4, 5          x x x x x     block 2: keys 1 to 5

Every block sees keys at the same distances from its first query, so the keys of all blocks are one strided
view (``unfold``) of the padded keys, and their scores one batched product. Keys that do not exist, and those
that a query does not see, get a bias of −1e30.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

import torch

from .batching import BlockBatch, batch_blocks
from .buffers import BufferPool
from .reductions import BlockReduction, Pooled
from .visible_keys import VisibleKeys

#: Score of a hidden key: its weight is exactly 0, and score times weight is a number, which −inf · 0 is not.
_HIDDEN = -1e30
#: Floats in the buffer of a block: enough rows for an efficient product, few enough for a processor's cache.
_BUDGET = 1 << 18
#: Floats in the buffer of a batch of several blocks.
_BATCH = 1 << 17
#: Queries of a block of a global layer and of a local one, about.
_GLOBAL, _LOCAL = 128, 32
#: With at most this many queries it is cheaper to pad the scores than the keys.
_FEW = 32


@dataclass(frozen=True)
class RowRequest:
    """What to compute of the rows of one layer.

    Attributes
    ----------
    top_k
        Keys to keep of every row; 0 for none.
    width
        Tokens in a bin of the maps; 0 for no maps.
    labels
        float32 ``[tokens, labels]``: 1 where a key has a label. None for no statistics.
    runs
        Starts of runs of tokens with the same labels; the last number is the end.
    rows
        Queries (token numbers) whose rows are kept.
    """

    top_k: int
    width: int
    labels: torch.Tensor | None
    runs: Sequence[int] = ()
    rows: frozenset[int] = frozenset()

    def allocate(self, shape: tuple[int, ...], device: torch.device) -> dict[str, torch.Tensor]:
        """Return where the numbers of an `RowResult` go, all of them empty.

        Parameters
        ----------
        shape
            ``(…, queries, heads)``.
        """
        out = {}
        if self.labels is not None:
            for name in ("entropy", "first_token_mass", "distance"):
                out[name] = torch.zeros(shape, device=device)
            *more, heads = shape
            out["mass_by_label"] = torch.zeros((*more, self.labels.shape[1], heads), device=device)
        if self.top_k:
            out["keys"] = torch.full((*shape, self.top_k), -1, dtype=torch.int32, device=device)
            out["weights"] = torch.zeros((*shape, self.top_k), device=device)
        return out

    def needs(self, start: int, stop: int) -> bool:
        """Return whether the rows of these queries are needed at all."""
        every = bool(self.top_k or self.width) or self.labels is not None
        return every or any(start <= row < stop for row in self.rows)


@dataclass
class RowResult:
    """Summaries of the rows of one layer; tensors on the model's device.

    Attributes
    ----------
    numbers
        ``entropy``, ``first``, ``distance`` ``[queries, heads]``, ``mass`` ``[queries, labels, heads]``,
        ``keys`` and ``weights`` ``[queries, heads, k]``.
    sums
        Parts of the map.
    rows
        By query: its first key, and ``[heads, keys]``.
    last
        The same of the last query.
    """

    numbers: dict[str, torch.Tensor] = field(default_factory=dict)
    sums: list[Pooled] = field(default_factory=list)
    rows: dict[int, tuple[int, torch.Tensor]] = field(default_factory=dict)
    last: tuple[int, torch.Tensor] | None = None


def block_length(*, window: int | None, width: int) -> int:
    """Return how many queries a block has where memory allows.

    Parameters
    ----------
    window
        Window of a local layer: a block sees as many keys, plus one per query.
    width
        Tokens per bin of the maps, or 0 without maps: pooling is faster if one is a multiple of the other.
    """
    about = _GLOBAL if window is None else _LOCAL
    if not 0 < width <= 2 * about or width % about == 0:
        return about
    return max(1, round(about / width)) * width


def max_block_size(heads: int) -> int:
    """Return the largest number of queries times keys of a block."""
    return _BUDGET // heads


class AttentionRows:
    """Attention rows of one sequence in one layer, recomputed from queries and keys.

    Parameters
    ----------
    query
        ``[heads, queries, dim]``.
    key
        ``[kv_heads, keys, dim]``; head *h* uses key-value head ``h * kv_heads // heads``.
    scaling
        Of the scores.
    first_query, first_key
        Token number of the first of each; they count on from there.
    mask
        ``[1 or heads, queries, keys]``, or None where the blocks' visible keys say all.
    biases
        Biases made from a boolean mask, kept for other layers with the same mask and blocks.
    buffers
        Memory for the scores of a block, shared by all layers.
    """

    def __init__(
        self,
        query: torch.Tensor,
        key: torch.Tensor,
        *,
        scaling: float,
        first_query: int,
        first_key: int,
        mask: torch.Tensor | None,
        biases: dict[tuple[int, ...], torch.Tensor] | None = None,
        buffers: BufferPool | None = None,
    ) -> None:
        self.buffers = BufferPool() if buffers is None else buffers
        self.biases: dict[tuple[int, ...], torch.Tensor] = {} if biases is None else biases
        self.query, self.key, self.scaling, self.mask = query, key, scaling, mask
        self.first_query, self.first_key = first_query, first_key
        self.heads, self.queries = query.shape[0], query.shape[1]

    def compute(
        self,
        request: RowRequest,
        visible: Iterable[VisibleKeys],
        out: dict[str, torch.Tensor] | None = None,
    ) -> RowResult:
        """Compute the rows block by block and return what is requested, its numbers in `out`."""
        if out is None:
            out = request.allocate((self.queries, self.heads), self.query.device)
        result = RowResult(out)
        needed = [
            block
            for block in visible
            if block.stop == self.queries  # the last row is checked against the layer's output
            or request.needs(self.first_query + block.start, self.first_query + block.stop)
        ]
        one_mask = self.mask is not None and self.mask.dtype == torch.bool and self.mask.shape[0] == 1
        batches = list(batch_blocks(needed, max_size=_BATCH // self.heads if one_mask else 0))
        query = self.query.float()  # [heads, queries, dim]
        keys, before = self._padded_keys(batches)
        for batch in batches:
            scores = self._scores(query, keys, batch, before)
            self._hide(scores, batch)
            block = BlockReduction(
                scores,
                self.buffers.like("weights", scores),
                self.first_key + batch.first,
                self.first_query + batch.start,
                sees_future=batch.sees_future,
            )
            part = {name: array[batch.start : batch.stop] for name, array in result.numbers.items()}
            _reduce(block, request, result, part)
            if batch.stop == self.queries:
                result.last = block.row(batch.stop - batch.start - 1)
        _finish(result.numbers)
        return result

    def _padded_keys(self, batches: list[BlockBatch]) -> tuple[torch.Tensor, int]:
        """Return the keys ``[kv, dim, keys]``, padded where blocks reach beyond, and the padding before."""
        keys, before = self.key.float().transpose(1, 2), 0
        if self.queries > _FEW or any(batch.count > 1 for batch in batches):
            before = max(0, max((-batch.first for batch in batches), default=0))
            beyond = max((batch.last for batch in batches), default=0) - keys.shape[2]
            keys = torch.nn.functional.pad(keys, (before, max(0, beyond)))
        return keys, before

    def _scores(
        self, query: torch.Tensor, keys: torch.Tensor, batch: BlockBatch, before: int
    ) -> torch.Tensor:
        """Return the scores of a batch, ``[kv, block, group, q, k]``.

        Parameters
        ----------
        query, keys
            ``[heads, queries, dim]`` and ``[kv, dim, padded keys]``.
        before
            Padding before the first key.
        """
        kv_heads, dim = keys.shape[0], query.shape[2]
        first = batch.first + before
        # [heads, queries, dim] → [kv, group, block, q, dim]
        query = query[:, batch.start : batch.stop].view(kv_heads, -1, batch.count, batch.length, dim)
        groups = query.shape[1]
        if batch.count == 1:
            rows = query.reshape(kv_heads, -1, dim)  # [kv, group · q, dim]
            keys = keys[:, :, first : first + batch.span]  # [kv, dim, k]
        else:
            rows = query.transpose(1, 2).reshape(kv_heads * batch.count, -1, dim)  # [kv·block, group·q, dim]
            # overlapping windows, one per block: [kv, dim, block, k]
            keys = keys[:, :, first : batch.last + before].unfold(2, batch.span, batch.length)
            keys = keys.transpose(1, 2).reshape(-1, dim, batch.span)  # [kv · block, dim, k]
        scores = self.buffers.take("scores", (*rows.shape[:2], keys.shape[2]), query.device)
        torch.bmm(rows, keys, out=scores)  # [kv · block, group · q, k]
        scores = scores if self.scaling == 1 else scores.mul_(self.scaling)
        missing = batch.span - keys.shape[2]  # with few queries, lengthening scores is cheaper than keys
        if missing:
            scores = torch.nn.functional.pad(scores, (0, missing), value=_HIDDEN)
        return scores.view(kv_heads, batch.count, groups, batch.length, batch.span)

    def _hide(self, scores: torch.Tensor, batch: BlockBatch) -> None:
        """Set the scores of invisible keys to `_HIDDEN`; adding a bias is many times faster than filling."""
        block = batch.visible
        if block is None:
            scores += self._batch_bias(batch)[:, None]  # [block, 1, q, k]
            return
        low = batch.first
        if block.first > low:
            scores[..., : block.first - low] = _HIDDEN
        if block.last < low + batch.span:
            scores[..., block.last - low :] = _HIDDEN
        # what some queries see and others do not: the keys before and after those that all of them see
        for first, last in (
            (block.first, block.unmasked[0]),
            (max(block.first, block.unmasked[1]), block.last),
        ):
            if last > first:
                scores[..., first - low : last - low] += self._bias(block, first, last)

    def _bias(self, block: VisibleKeys, first: int, last: int) -> torch.Tensor:
        """Return the bias of some keys of a block, ``[q, k]``; ``[kv, 1, group, q, k]`` if heads differ."""
        if self.mask is None:
            offset = first + self.first_key - block.start - self.first_query
            return _causal_bias(block.stop - block.start, last - first, offset, self.query.device)
        mask = self.mask[:, block.start : block.stop, first:last]
        if mask.dtype != torch.bool:
            return self._by_head(mask.float().clamp_min(_HIDDEN))
        key = block.start, first
        if key not in self.biases:
            self.biases[key] = torch.where(mask, 0.0, _HIDDEN)
        return self._by_head(self.biases[key])

    def _by_head(self, bias: torch.Tensor) -> torch.Tensor:
        return bias[0] if bias.shape[0] == 1 else bias.view(self.key.shape[0], 1, -1, *bias.shape[1:])

    def _batch_bias(self, batch: BlockBatch) -> torch.Tensor:
        """Return the bias of the keys of a batch of several blocks, ``[block, q, k]``."""
        key = batch.start, batch.first, batch.count, batch.span
        if key not in self.biases:
            assert self.mask is not None  # blocks are batched under a boolean mask only
            mask, keys = self.mask[0, batch.start : batch.stop], self.mask.shape[2]
            bias = torch.full((batch.count, batch.length, batch.span), _HIDDEN, device=mask.device)
            for block in range(batch.count):
                first = batch.first + block * batch.length
                low, high = max(0, first), min(first + batch.span, keys)
                rows = mask[block * batch.length : (block + 1) * batch.length, low:high]
                bias[block, :, low - first : high - first].masked_fill_(rows, 0)
            self.biases[key] = bias
        return self.biases[key]


@lru_cache(maxsize=64)
def _causal_bias(queries: int, keys: int, offset: int, device: torch.device) -> torch.Tensor:
    """Return a bias that hides keys after a query; the first key is `offset` from the first query."""
    distance = torch.arange(keys, device=device) + offset
    return torch.where(distance > torch.arange(queries, device=device)[:, None], _HIDDEN, 0.0)


def _finish(numbers: dict[str, torch.Tensor]) -> None:
    """Clamp rounding errors below 0, and mark top keys without weight as none."""
    if "distance" in numbers:
        numbers["entropy"].clamp_min_(0)
        numbers["distance"].clamp_min_(0)
    if "keys" in numbers:
        numbers["keys"].masked_fill_(numbers["weights"] == 0, -1)


def _reduce(
    block: BlockReduction, request: RowRequest, result: RowResult, numbers: dict[str, torch.Tensor]
) -> None:
    """Keep what is requested of a batch; `numbers` are those of its queries."""
    largest = block.top(request.top_k, numbers) if request.top_k else None
    if request.labels is not None:
        block.statistics(numbers, request.labels, request.runs, largest)
    if request.width:
        result.sums.append(block.pool(request.width))
    last = block.first_query + block.blocks * block.queries
    for query in sorted(row for row in request.rows if block.first_query <= row < last):
        result.rows[query] = block.row(query - block.first_query)

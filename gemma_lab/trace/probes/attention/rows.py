"""Attention rows of one sequence and layer, a block of queries at a time, reduced while they are there.

Scores and their softmax are computed in float32, whatever the model's type, as fused kernels do: scores
rounded to bfloat16 would move weights by percents. What is kept of a block's rows are sums and a few keys.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

import torch

from .batching import BlockBatch, strips
from .buffers import BufferPool
from .reductions import Block, Pooled
from .visible_keys import VisibleKeys

#: What a hidden key scores: its weight is exactly zero, and times that still a number.
_HIDDEN = -1e30
#: Floats in the buffer of a block: enough rows for an efficient product, few enough for a processor's cache.
_BUDGET = 1 << 18
#: Floats in that of several blocks.
_STRIP = 1 << 17
#: Queries of a block of a global layer and of a local one, about.
_GLOBAL, _LOCAL = 128, 32
#: Of so few queries it is cheaper to lengthen the scores than the keys.
_FEW = 32


@dataclass(frozen=True)
class Question:
    """What is asked of the rows of one layer.

    Attributes
    ----------
    top_k
        Keys to keep of every row; 0 for none.
    width
        Tokens in a bin of the maps; 0 for no maps.
    labels
        float32 ``[tokens, labels]``: 1 where a key has a label. None for no statistics.
    runs
        Where stretches of tokens with the same labels begin; the last number is the end.
    rows
        Queries (token numbers) whose rows are kept.
    """

    top_k: int
    width: int
    labels: torch.Tensor | None
    runs: Sequence[int] = ()
    rows: frozenset[int] = frozenset()

    def room(self, shape: tuple[int, ...], device: torch.device) -> dict[str, torch.Tensor]:
        """Return where the numbers of an `Answer` go, all of them empty.

        Parameters
        ----------
        shape
            ``(…, queries, heads)``.
        """
        room = {}
        if self.labels is not None:
            for name in ("entropy", "first_token_mass", "distance"):
                room[name] = torch.zeros(shape, device=device)
            *more, heads = shape
            room["mass_by_label"] = torch.zeros((*more, self.labels.shape[1], heads), device=device)
        if self.top_k:
            room["keys"] = torch.full((*shape, self.top_k), -1, dtype=torch.int32, device=device)
            room["weights"] = torch.zeros((*shape, self.top_k), device=device)
        return room

    def needs(self, start: int, stop: int) -> bool:
        """Return whether the rows of these queries are needed at all."""
        whole = bool(self.top_k or self.width) or self.labels is not None
        return whole or any(start <= row < stop for row in self.rows)


@dataclass
class Answer:
    """What the rows of one layer gave; tensors on the model's device.

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
    """Return how many queries to take at once where memory allows.

    Parameters
    ----------
    window
        Of a local layer: a block sees so many keys, and as many as it has queries.
    width
        Tokens in a bin of the maps, or 0: blocks of whole bins, or bins of whole blocks, are pooled faster.
    """
    about = _GLOBAL if window is None else _LOCAL
    if not 0 < width <= 2 * about or width % about == 0:
        return about
    return max(1, round(about / width)) * width


def block_room(heads: int) -> int:
    """Return how many queries times keys a block may have."""
    return _BUDGET // heads


class AttentionRows:
    """Reduces the attention of one sequence in one layer.

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
        ``[1 or heads, queries, keys]``, or None where `sights` tells all.
    biases
        Where to keep what a boolean mask adds to scores, for other layers with the same mask and blocks.
    scratch
        Room for a block's rows, which other layers use, too.
    """

    def __init__(
        self, query: torch.Tensor, key: torch.Tensor, *, scaling: float, first_query: int, first_key: int,
        mask: torch.Tensor | None, biases: dict[tuple[int, ...], torch.Tensor] | None = None,
        scratch: BufferPool | None = None,
    ) -> None:  # fmt: skip
        self.scratch = BufferPool() if scratch is None else scratch
        self.biases: dict[tuple[int, ...], torch.Tensor] = {} if biases is None else biases
        self.query, self.key, self.scaling, self.mask = query, key, scaling, mask
        self.first_query, self.first_key = first_query, first_key
        self.heads, self.queries = query.shape[0], query.shape[1]

    def look(
        self, question: Question, sights: Iterable[VisibleKeys], room: dict[str, torch.Tensor] | None = None
    ) -> Answer:
        """Compute the rows block by block and return what was asked of them, its numbers in `room`."""
        if room is None:
            room = question.room((self.queries, self.heads), self.query.device)
        answer = Answer(room)
        needed = [
            sight for sight in sights
            if sight.stop == self.queries
            or question.needs(self.first_query + sight.start, self.first_query + sight.stop)
        ]  # fmt: skip
        same = self.mask is not None and self.mask.dtype == torch.bool and self.mask.shape[0] == 1
        parts = list(strips(needed, most=_STRIP // self.heads if same else 0))
        query, keys = self.query.float(), self.key.float().transpose(1, 2)
        before = 0
        if self.queries > _FEW or any(part.count > 1 for part in parts):
            before = max(0, max((-part.first for part in parts), default=0))
            beyond = max((part.last for part in parts), default=0) - keys.shape[2]
            keys = torch.nn.functional.pad(keys, (before, max(0, beyond)))
        for part in parts:
            scores = self._scores(query, keys, part, before)
            self._hide(scores, part)
            block = Block(
                scores, self.scratch.like("weights", scores), self.first_key + part.first,
                self.first_query + part.start, ahead=part.ahead,
            )  # fmt: skip
            theirs = {name: array[part.start : part.stop] for name, array in answer.numbers.items()}
            _take(block, question, answer, theirs)
            if part.stop == self.queries:
                answer.last = block.row(part.stop - part.start - 1)
        _settle(answer.numbers)
        return answer

    def _scores(self, query: torch.Tensor, keys: torch.Tensor, part: BlockBatch, before: int) -> torch.Tensor:
        """Return ``[kv_heads, blocks, heads of each, queries, keys]``."""
        kv_heads, dim = keys.shape[0], query.shape[2]
        query = query[:, part.start : part.stop].view(kv_heads, -1, part.count, part.length, dim)
        groups = query.shape[1]
        first = part.first + before
        if part.count == 1:
            rows = query.reshape(kv_heads, -1, dim)
            keys = keys[:, :, first : first + part.span]
        else:
            rows = query.transpose(1, 2).reshape(kv_heads * part.count, -1, dim)
            keys = keys[:, :, first : part.last + before].unfold(2, part.span, part.length)
            keys = keys.transpose(1, 2).reshape(-1, dim, part.span)
        scores = self.scratch.take("scores", (*rows.shape[:2], keys.shape[2]), query.device)
        torch.bmm(rows, keys, out=scores)
        scores = scores if self.scaling == 1 else scores.mul_(self.scaling)
        missing = part.span - keys.shape[2]
        if missing:
            scores = torch.nn.functional.pad(scores, (0, missing), value=_HIDDEN)
        return scores.view(kv_heads, part.count, groups, part.length, part.span)

    def _hide(self, scores: torch.Tensor, part: BlockBatch) -> None:
        """Bring what a block does not see to `_HIDDEN`; it is added, many times faster than filling."""
        sight = part.sight
        if sight is None:
            scores += self._band(part)[:, None]
            return
        low = part.first
        if sight.first > low:
            scores[..., : sight.first - low] = _HIDDEN
        if sight.last < low + part.span:
            scores[..., sight.last - low :] = _HIDDEN
        for first, last in (
            (sight.first, sight.clear[0]),
            (max(sight.first, sight.clear[1]), sight.last),
        ):
            if last > first:
                scores[..., first - low : last - low] += self._bias(sight, first, last)

    def _bias(self, sight: VisibleKeys, first: int, last: int) -> torch.Tensor:
        """Return what hides some keys from a block, ``[queries, keys]`` or of every head."""
        if self.mask is None:
            count, apart = sight.stop - sight.start, first + self.first_key - sight.start - self.first_query
            return _later(count, last - first, apart, self.query.device)
        own = self.mask[:, sight.start : sight.stop, first:last]
        if own.dtype != torch.bool:
            return self._by_head(own.float().clamp_min(_HIDDEN))
        at = sight.start, first
        if at not in self.biases:
            self.biases[at] = torch.where(own, 0.0, _HIDDEN)
        return self._by_head(self.biases[at])

    def _by_head(self, bias: torch.Tensor) -> torch.Tensor:
        return bias[0] if bias.shape[0] == 1 else bias.view(self.key.shape[0], 1, -1, *bias.shape[1:])

    def _band(self, part: BlockBatch) -> torch.Tensor:
        """Return what hides keys from the blocks of a strip, ``[blocks, queries, keys]``."""
        at = part.start, part.first, part.count, part.span
        if at not in self.biases:
            assert self.mask is not None  # only what a mask hides comes in strips
            own, keys = self.mask[0, part.start : part.stop], self.mask.shape[2]
            bias = torch.full((part.count, part.length, part.span), _HIDDEN, device=own.device)
            for block in range(part.count):
                first = part.first + block * part.length
                low, high = max(0, first), min(first + part.span, keys)
                rows = own[block * part.length : (block + 1) * part.length, low:high]
                bias[block, :, low - first : high - first].masked_fill_(rows, 0)
            self.biases[at] = bias
        return self.biases[at]


@lru_cache(maxsize=64)
def _later(queries: int, keys: int, apart: int, device: torch.device) -> torch.Tensor:
    """Return what hides keys that come after a query; the first of them is `apart` from the first query."""
    places = torch.arange(keys, device=device) + apart
    return torch.where(places > torch.arange(queries, device=device)[:, None], _HIDDEN, 0.0)


def _settle(numbers: dict[str, torch.Tensor]) -> None:
    """Say of all rows at once what the blocks left open."""
    if "distance" in numbers:
        numbers["entropy"].clamp_min_(0)
        numbers["distance"].clamp_min_(0)
    if "keys" in numbers:
        numbers["keys"].masked_fill_(numbers["weights"] == 0, -1)


def _take(block: Block, question: Question, answer: Answer, numbers: dict[str, torch.Tensor]) -> None:
    largest = block.top(question.top_k, numbers) if question.top_k else None
    if question.labels is not None:
        block.statistics(numbers, question.labels, question.runs, largest)
    if question.width:
        answer.sums.append(block.pool(question.width))
    last = block.first_query + block.blocks * block.queries
    for query in sorted(row for row in question.rows if block.first_query <= row < last):
        answer.rows[query] = block.row(query - block.first_query)

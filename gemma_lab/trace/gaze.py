"""Attention rows of one sequence and layer, a block of queries at a time, reduced while they are there.

Scores are computed in the model's own type, their softmax in float32, as the stock functions do. A block's
rows live in two buffers that the next block reuses; what is kept of them are sums and a few keys.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import torch

from .sights import Sight

#: What a hidden key scores: its weight is exactly zero, and times that still a number.
_HIDDEN = -1e30
#: Floats in the buffer of a block; two of them lie in a processor's cache at best.
_BUDGET = 1 << 19
#: Keys of which only the largest is looked at before the top keys are chosen, at least.
_GROUP = 64


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
    rows
        Queries (token numbers) whose rows are kept.
    """

    top_k: int
    width: int
    labels: torch.Tensor | None
    rows: frozenset[int] = frozenset()


@dataclass
class Answer:
    """What the rows of one layer gave; tensors on the model's device.

    Attributes
    ----------
    numbers
        ``entropy``, ``first``, ``distance`` ``[queries, heads]``, ``mass`` ``[queries, labels, heads]``,
        ``keys`` and ``weights`` ``[queries, heads, k]``.
    sums
        Parts of the map: first bin of queries, first bin of keys, sums of weights ``[heads, bins, bins]``.
    rows
        By query: its first key, and ``[heads, keys]``.
    last
        The same of the last query.
    """

    numbers: dict[str, torch.Tensor] = field(default_factory=dict)
    sums: list[tuple[int, int, torch.Tensor]] = field(default_factory=list)
    rows: dict[int, tuple[int, torch.Tensor]] = field(default_factory=dict)
    last: tuple[int, torch.Tensor] | None = None


def block_length(*, heads: int, keys: int, window: int | None) -> int:
    """Return how many queries to take at once: their rows are to fit a processor's cache."""
    reach = keys if window is None else min(keys, 2 * window)
    most = max(1, _BUDGET // (heads * max(1, reach)))
    return max(4, min(256, most if window is None else min(most, max(32, window // 2))))


class Gaze:
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
    """

    def __init__(
        self, query: torch.Tensor, key: torch.Tensor, *, scaling: float, first_query: int, first_key: int,
        mask: torch.Tensor | None,
    ) -> None:  # fmt: skip
        self.query, self.key, self.scaling, self.mask = query, key, scaling, mask
        self.first_query, self.first_key = first_query, first_key
        self.heads, self.queries = query.shape[0], query.shape[1]

    def look(self, question: Question, sights: Iterable[Sight]) -> Answer:
        """Compute the rows block by block and return what was asked of them."""
        answer = Answer(self._room(question))
        # spans of keys are whole groups of whole bins, in token numbers: padded keys score _HIDDEN
        group = question.width or _GROUP
        group *= -(-_GROUP // group)
        left = self.first_key % group
        right = -(left + self.key.shape[1]) % group
        padded = torch.nn.functional.pad(self.key, (0, 0, left, right)).transpose(1, 2)
        for sight in sights:
            low = (left + sight.first) // group * group
            high = -(-(left + sight.last) // group) * group
            scores = self._scores(padded[:, :, low:high], sight, offset=left - low)
            block = _Block(
                scores, low + self.first_key - left, self.first_query + sight.start, ahead=sight.ahead
            )  # fmt: skip
            theirs = {name: array[sight.start : sight.stop] for name, array in answer.numbers.items()}
            _take(block, question, answer, theirs, group)
            if sight.stop == self.queries:
                answer.last = block.row(block.queries - 1)
        return answer

    def _room(self, question: Question) -> dict[str, torch.Tensor]:
        device, shape = self.query.device, (self.queries, self.heads)
        room = {}
        if question.labels is not None:
            for name in ("entropy", "first", "distance"):
                room[name] = torch.zeros(shape, device=device)
            room["mass"] = torch.zeros((self.queries, question.labels.shape[1], self.heads), device=device)
        if question.top_k:
            k = question.top_k
            room["keys"] = torch.full((*shape, k), -1, dtype=torch.int32, device=device)
            room["weights"] = torch.zeros((*shape, k), device=device)
        return room

    def _scores(self, keys: torch.Tensor, sight: Sight, *, offset: int) -> torch.Tensor:
        """Return scores ``[heads, queries, keys]`` in float32, hidden keys at `_HIDDEN`.

        `offset` is where the layer's first key lies in this span (negative when it starts later).
        """
        part = self.query[:, sight.start : sight.stop]
        groups, count, dim = keys.shape[0], part.shape[1], part.shape[2]
        rows = part.reshape(groups, -1, dim)
        scores = torch.bmm(rows, keys).view(self.heads, count, -1)
        scores = scores.float() if scores.dtype != torch.float32 else scores
        if self.scaling != 1:
            scores *= self.scaling
        low, high = offset + sight.first, offset + sight.last
        scores[..., :low] = _HIDDEN
        scores[..., high:] = _HIDDEN
        for first, last in ((sight.first, sight.clear[0]), (max(sight.first, sight.clear[1]), sight.last)):
            if last > first:
                self._hide(scores[..., offset + first : offset + last], sight, first, last)
        return scores

    def _hide(self, scores: torch.Tensor, sight: Sight, first: int, last: int) -> None:
        if self.mask is None:
            tokens = torch.arange(first, last, device=scores.device) + self.first_key
            queries = torch.arange(sight.start, sight.stop, device=scores.device) + self.first_query
            scores.masked_fill_(tokens > queries[:, None], _HIDDEN)
        elif self.mask.dtype == torch.bool:
            scores.masked_fill_(~self.mask[:, sight.start : sight.stop, first:last], _HIDDEN)
        else:
            scores += self.mask[:, sight.start : sight.stop, first:last]
            scores.clamp_min_(_HIDDEN)


def _take(
    block: _Block, question: Question, answer: Answer, numbers: dict[str, torch.Tensor], group: int
) -> None:
    if question.labels is not None:
        block.statistics(question.labels, numbers)
    if question.top_k:
        block.top(question.top_k, group, numbers)
    if question.width:
        answer.sums.append(block.pool(question.width))
    for query in sorted(question.rows & set(range(block.first_query, block.first_query + block.queries))):
        answer.rows[query] = block.row(query - block.first_query)


#: Of so few queries the mean distance is a product; of more, the difference of two would lose digits.
_FEW = 32


class _Block:
    """The rows of one block of queries: scores less their maximum, and their exponentials."""

    def __init__(self, scores: torch.Tensor, first_key: int, first_query: int, *, ahead: bool) -> None:
        self.first_key, self.first_query, self.ahead = first_key, first_query, ahead
        self.queries = scores.shape[1]
        self.scores = scores.sub_(scores.amax(dim=-1, keepdim=True))
        self.weights = torch.exp(self.scores)
        self.total = self.weights.sum(dim=-1)  # [heads, queries]

    def statistics(self, labels: torch.Tensor, numbers: dict[str, torch.Tensor]) -> None:
        weights, total, span = self.weights, self.total, self.weights.shape[-1]
        entropy = total.log() - torch.linalg.vecdot(weights, self.scores) / total
        numbers["entropy"].copy_(entropy.clamp_min_(0).T)
        if self.first_key == 0:
            numbers["first"].copy_((weights[..., 0] / total).T)
        numbers["distance"].copy_(self._distance().T)
        theirs = labels[self.first_key : self.first_key + span]
        mass = weights[..., : len(theirs)] @ theirs / total[..., None]
        numbers["mass"].copy_(mass.permute(1, 2, 0))

    def _distance(self) -> torch.Tensor:
        span, device = self.weights.shape[-1], self.weights.device
        last = self.queries - 1
        queries = torch.arange(self.queries, device=device, dtype=torch.float32)
        # keys and queries both count from the first query of the block, so that float32 suffices
        keys = torch.arange(span, device=device, dtype=torch.float32) + (self.first_key - self.first_query)
        if self.ahead or self.queries > _FEW:
            apart = (queries[:, None] - keys).abs()
            far: torch.Tensor = torch.linalg.vecdot(self.weights, apart) / self.total
            return far
        back = torch.matmul(self.weights, last - keys) / self.total
        return (back - (last - queries)).clamp_min_(0)

    def top(self, k: int, group: int, numbers: dict[str, torch.Tensor]) -> None:
        """Find the largest weights: they lie in the groups with the largest maxima."""
        heads, count, span = self.weights.shape
        several = span // group
        grouped = self.weights.view(heads, count, several, group)
        if several > 2 * k:
            best = grouped.amax(dim=-1).topk(k, dim=-1, sorted=False).indices
            picked = grouped.gather(2, best[..., None].expand(-1, -1, -1, group)).flatten(2)
            values, places = picked.topk(k, dim=-1)
            keys = best.gather(-1, places // group) * group + places % group
        else:
            values, keys = self.weights.topk(min(k, span), dim=-1)
        there = values > 0
        keys = torch.where(there, keys + self.first_key, -1)
        k = keys.shape[-1]
        numbers["keys"][..., :k].copy_(keys.transpose(0, 1))
        numbers["weights"][..., :k].copy_((values / self.total[..., None]).transpose(0, 1))

    def pool(self, width: int) -> tuple[int, int, torch.Tensor]:
        heads, count, span = self.weights.shape
        tokens = torch.arange(count, device=self.weights.device) + self.first_query
        first = self.first_query // width
        bins = (self.first_query + count - 1) // width + 1 - first
        belongs = (tokens // width - first) == torch.arange(bins, device=tokens.device)[:, None]
        rows = torch.bmm(belongs / self.total[:, None, :], self.weights)
        pooled = rows.view(heads, bins, span // width, width).sum(dim=-1)
        start = self.first_key // width
        return first, start, pooled

    def row(self, query: int) -> tuple[int, torch.Tensor]:
        return self.first_key, self.weights[:, query] / self.total[:, query, None]

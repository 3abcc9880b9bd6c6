"""Attention rows of one sequence and layer, a block of queries at a time, reduced while they are there.

Scores and their softmax are computed in float32, whatever the model's type, as fused kernels do: scores
rounded to bfloat16 would move weights by percents. What is kept of a block's rows are sums and a few keys.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import torch

from .sights import Sight

#: What a hidden key scores: its weight is exactly zero, and times that still a number.
_HIDDEN = -1e30
#: Floats in the buffer of a block: enough rows for an efficient product, few enough for a processor's cache.
_BUDGET = 1 << 20
#: Spans of keys are a multiple of this, so that they can be folded.
_GROUP = 64
_FOLD = 8


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
    return max(4, min(most, 64 if window is None else min(256, max(32, window))))


class Scratch:
    """Buffers that are used again: fresh memory for every block would take as long as the block's sums."""

    def __init__(self) -> None:
        self._flat: dict[str, torch.Tensor] = {}

    def take(self, name: str, shape: Sequence[int], device: torch.device) -> torch.Tensor:
        """Return a float32 tensor whose values are anything; it is the same memory every time."""
        size, flat = math.prod(shape), self._flat.get(name)
        if flat is None or flat.numel() < size or flat.device != device:
            flat = self._flat[name] = torch.empty(size, device=device)
        return flat[:size].view(*shape)

    def like(self, name: str, tensor: torch.Tensor) -> torch.Tensor:
        """Return one of a tensor's shape and device."""
        return self.take(name, tensor.shape, tensor.device)


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
    biases
        Where to keep what a boolean mask adds to scores, for other layers with the same mask and blocks.
    scratch
        Room for a block's rows, which other layers use, too.
    """

    def __init__(
        self, query: torch.Tensor, key: torch.Tensor, *, scaling: float, first_query: int, first_key: int,
        mask: torch.Tensor | None, biases: dict[tuple[int, int], torch.Tensor] | None = None,
        scratch: Scratch | None = None,
    ) -> None:  # fmt: skip
        self.scratch = Scratch() if scratch is None else scratch
        self.biases: dict[tuple[int, int], torch.Tensor] = {} if biases is None else biases
        self.query, self.key, self.scaling, self.mask = query, key, scaling, mask
        self.first_query, self.first_key = first_query, first_key
        self.heads, self.queries = query.shape[0], query.shape[1]

    def look(self, question: Question, sights: Iterable[Sight]) -> Answer:
        """Compute the rows block by block and return what was asked of them."""
        answer = Answer(self._room(question))
        query, keys = self.query.float(), self.key.float().transpose(1, 2)
        if self.queries > _FEW:  # else it is cheaper to lengthen the scores
            keys = torch.nn.functional.pad(keys, (0, -keys.shape[2] % _GROUP))
        for sight in sights:
            if not question.needs(self.first_query + sight.start, self.first_query + sight.stop) and (
                sight.stop < self.queries
            ):
                continue
            # spans of keys are whole groups: what is added to them is hidden
            low, high = sight.first // _GROUP * _GROUP, -(-sight.last // _GROUP) * _GROUP
            scores = self._scores(query[:, sight.start : sight.stop], keys[:, :, low:high], high - low)
            self._hide(scores, sight, low)
            block = _Block(
                scores, self.scratch.like("weights", scores), low + self.first_key,
                self.first_query + sight.start, ahead=sight.ahead,
            )  # fmt: skip
            theirs = {name: array[sight.start : sight.stop] for name, array in answer.numbers.items()}
            _take(block, question, answer, theirs)
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

    def _scores(self, query: torch.Tensor, keys: torch.Tensor, span: int) -> torch.Tensor:
        rows = query.reshape(keys.shape[0], -1, query.shape[2])
        scores = self.scratch.take("scores", (*rows.shape[:2], keys.shape[2]), query.device)
        scores = torch.bmm(rows, keys, out=scores).view(self.heads, query.shape[1], -1)
        scores = scores if self.scaling == 1 else scores.mul_(self.scaling)
        missing = span - keys.shape[2]
        return torch.nn.functional.pad(scores, (0, missing), value=_HIDDEN) if missing else scores

    def _hide(self, scores: torch.Tensor, sight: Sight, low: int) -> None:
        """Bring what a block does not see to `_HIDDEN`; its scores begin at key `low`."""
        scores[..., : sight.first - low] = _HIDDEN
        scores[..., sight.last - low :] = _HIDDEN
        for first, last in (
            (sight.first, sight.clear[0]),
            (max(sight.first, sight.clear[1]), sight.last),
        ):
            if last > first:  # added, which is many times faster than filling by a mask
                scores[..., first - low : last - low] += self._bias(sight, first, last)

    def _bias(self, sight: Sight, first: int, last: int) -> torch.Tensor:
        if self.mask is None:
            keys = torch.arange(first, last, device=self.query.device) + self.first_key
            queries = torch.arange(sight.start, sight.stop, device=self.query.device) + self.first_query
            return torch.where(keys > queries[:, None], _HIDDEN, 0.0)
        own = self.mask[:, sight.start : sight.stop, first:last]
        if own.dtype != torch.bool:
            return own.float().clamp_min(_HIDDEN)
        at = sight.start, first
        if at not in self.biases:
            self.biases[at] = torch.where(own, 0.0, _HIDDEN)
        return self.biases[at]


def _take(block: _Block, question: Question, answer: Answer, numbers: dict[str, torch.Tensor]) -> None:
    largest = block.top(question.top_k, numbers) if question.top_k else None
    if question.labels is not None:
        block.statistics(question, numbers, largest)
    if question.width:
        answer.sums.append(block.pool(question.width))
    for query in sorted(question.rows & set(range(block.first_query, block.first_query + block.queries))):
        answer.rows[query] = block.row(query - block.first_query)


#: Of more stretches of equal labels a product is as fast.
_RUNS = 16
#: Of so few queries the mean distance is a product; of more, the difference of two would lose digits.
_FEW = 32


class _Block:
    """The rows of one block of queries: their scores, until the statistics are made, and their weights.

    Parameters
    ----------
    scores
        ``[heads, queries, keys]``; they are overwritten.
    room
        Where the weights go, of the same shape.
    first_key, first_query
        Token numbers.
    ahead
        Whether a query sees a later key than itself.
    """

    def __init__(
        self, scores: torch.Tensor, room: torch.Tensor, first_key: int, first_query: int, *, ahead: bool
    ) -> None:
        self.first_key, self.first_query, self.ahead = first_key, first_query, ahead
        self.queries = scores.shape[1]
        self.scores = scores
        # not exp(): what underflows takes that ten times as long on a CPU, and half of a local block does
        self.weights = torch.softmax(scores, dim=-1, out=room)

    def statistics(
        self, question: Question, numbers: dict[str, torch.Tensor], largest: torch.Tensor | None
    ) -> None:
        """Fill in what is asked of every row; `largest` is where its largest weight is, if that is known."""
        weights = self.weights
        largest = weights.argmax(dim=-1, keepdim=True) if largest is None else largest
        # -Σ p log p, where log p = score - log Σ exp(score); the last is told by the largest weight
        total = self.scores.gather(-1, largest) - weights.gather(-1, largest).log()
        entropy = total[..., 0] - self.scores.mul_(weights).sum(dim=-1)
        numbers["entropy"].copy_(entropy.clamp_min_(0).T)
        if self.first_key == 0:
            numbers["first"].copy_(weights[..., 0].T)
        numbers["distance"].copy_(self._distance().T)
        if question.labels is not None and question.labels.shape[1]:
            numbers["mass"].copy_(self._mass(question.labels, question.runs).permute(1, 2, 0))

    def _mass(self, labels: torch.Tensor, runs: Sequence[int]) -> torch.Tensor:
        """Return the weights by label, ``[heads, queries, labels]``; a few sums are faster than a product."""
        first, last = self.first_key, min(self.first_key + self.weights.shape[-1], labels.shape[0])
        edges = [first, *runs[bisect_right(runs, first) : bisect_left(runs, last)], last]
        if len(edges) > _RUNS:
            return self.weights[..., : last - first] @ labels[first:last]
        sums = [self.weights[..., a - first : b - first].sum(dim=-1) for a, b in pairwise(edges)]
        return torch.stack(sums, dim=-1) @ labels[edges[:-1]]

    def _distance(self) -> torch.Tensor:
        span, device = self.weights.shape[-1], self.weights.device
        last = self.queries - 1
        queries = torch.arange(self.queries, device=device, dtype=torch.float32)
        # keys and queries both count from the first query of the block, so that float32 suffices
        keys = torch.arange(span, device=device, dtype=torch.float32) + (self.first_key - self.first_query)
        if self.ahead or self.queries > _FEW:
            apart = (queries[:, None] - keys).abs()
            far: torch.Tensor = torch.linalg.vecdot(self.weights, apart)
            return far
        back = torch.matmul(self.weights, last - keys)
        return (back - (last - queries)).clamp_min_(0)

    def top(self, k: int, numbers: dict[str, torch.Tensor]) -> torch.Tensor:
        """Fill in the keys with the largest weights; return where the first of them is, ``[…, 1]``."""
        values, places = _largest(self.weights, min(k, self.weights.shape[-1]))
        keys = torch.where(values > 0, places + self.first_key, -1)
        k = keys.shape[-1]
        numbers["keys"][..., :k].copy_(keys.transpose(0, 1))
        numbers["weights"][..., :k].copy_(values.transpose(0, 1))
        return places[..., :1]

    def pool(self, width: int) -> tuple[int, int, torch.Tensor]:
        heads, count, span = self.weights.shape
        tokens = torch.arange(count, device=self.weights.device) + self.first_query
        first = self.first_query // width
        bins = (self.first_query + count - 1) // width + 1 - first
        if bins == 1:
            rows = self.weights.sum(dim=1, keepdim=True)
        else:
            belongs = (tokens // width - first) == torch.arange(bins, device=tokens.device)[:, None]
            rows = torch.bmm(belongs.float().expand(heads, -1, -1), self.weights)
        left = self.first_key % width
        rows = torch.nn.functional.pad(rows, (left, -(left + span) % width))
        return first, self.first_key // width, rows.view(heads, bins, -1, width).sum(dim=-1)

    def row(self, query: int) -> tuple[int, torch.Tensor]:
        return self.first_key, self.weights[:, query].clone()


def _largest(rows: torch.Tensor, k: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the k largest of each row of ``[heads, queries, keys]``, largest first, and where they are.

    A row is folded into lines one below the other. The k largest lie in the columns with the k largest
    maxima, so most of the row is only looked at for these: ``topk`` alone takes ten times as long.
    """
    span = rows.shape[-1]
    if span <= max(_GROUP, _FOLD * k) or span % _FOLD:
        values, places = rows.topk(k, dim=-1)
        return values, places
    folded = rows.view(*rows.shape[:2], _FOLD, span // _FOLD)
    columns = _largest(folded.amax(dim=2), k)[1][:, :, None]
    values, places = folded.gather(3, columns.expand(-1, -1, _FOLD, -1)).flatten(2).topk(k, dim=-1)
    return values, columns[:, :, 0].gather(-1, places % k) + places // k * (span // _FOLD)

"""Blocks of queries with the same keys beside them, taken at once: a band of a local layer costs its band."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from .visible_keys import VisibleKeys

#: Spans of keys are a multiple of these, so that they can be folded: of several blocks, of a lone one.
_SPAN, _ALONE = 32, 64
#: How much wider the spans of a strip may be than its blocks' own: the first blocks of a band have less.
_WIDER = 1.5


@dataclass(frozen=True)
class BlockBatch:
    """Blocks of equally many queries, one after the other, whose keys are as far from each.

    Attributes
    ----------
    start, length, count
        The first query, the queries of a block, and the blocks.
    first
        The first key of the first block; those of the next block begin `length` later. Before 0 there is
        nothing, nor after the last key.
    span
        Keys of a block.
    ahead
        Whether a query sees a later token than itself.
    sight
        What a lone block sees.
    """

    start: int
    length: int
    count: int
    first: int
    span: int
    ahead: bool
    sight: VisibleKeys | None = None

    @property
    def stop(self) -> int:
        """The query after the last."""
        return self.start + self.count * self.length

    @property
    def last(self) -> int:
        """The key after the last."""
        return self.first + (self.count - 1) * self.length + self.span


def strips(sights: Iterable[VisibleKeys], *, most: int) -> Iterator[BlockBatch]:
    """Yield blocks by what they see, as many at once as their spans allow.

    Parameters
    ----------
    sights
        Of blocks, in order.
    most
        Rows times keys that a strip may have; a lone block may have more.
    """
    group: list[VisibleKeys] = []
    for sight in sights:
        if group and not _fits([*group, sight], most):
            yield _strip(group)
            group = []
        group.append(sight)
    if group:
        yield _strip(group)


def _fits(group: list[VisibleKeys], most: int) -> bool:
    one, last = group[0], group[-1]
    if last.stop - last.start != one.stop - one.start or last.start != group[-2].stop:
        return False
    span = _span(group)[1]
    own = sum(sight.last - sight.first for sight in group)
    return span * len(group) <= min(_WIDER * own, most / (one.stop - one.start))


def _span(group: list[VisibleKeys]) -> tuple[int, int]:
    """Return where the keys of a block begin, counted from its first query, and how many there are."""
    length = group[0].stop - group[0].start
    low = min(sight.first - sight.start for sight in group) // length * length
    return low, -(-(max(sight.last - sight.start for sight in group) - low) // _SPAN) * _SPAN


def _strip(group: list[VisibleKeys]) -> BlockBatch:
    one = group[0]
    if len(group) == 1:
        low, high = one.first // _ALONE * _ALONE, -(-one.last // _ALONE) * _ALONE
        return BlockBatch(one.start, one.stop - one.start, 1, low, high - low, one.ahead, one)
    low, span = _span(group)
    ahead = any(sight.ahead for sight in group)
    return BlockBatch(one.start, one.stop - one.start, len(group), one.start + low, span, ahead)

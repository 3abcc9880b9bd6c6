"""Batch query blocks whose key ranges have the same offset, so that a local layer costs only its window."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from .visible_keys import VisibleKeys

#: Key spans are rounded up to a multiple, so that `top_keys` can fold them: of batches, of lone blocks.
_SPAN, _ALONE = 32, 64
#: How much wider the spans of a batch may be than its blocks' own: a band's first blocks have fewer.
_WIDER = 1.5


@dataclass(frozen=True)
class BlockBatch:
    """Consecutive blocks of equally many queries, whose keys lie at the same distance from each block.

    Attributes
    ----------
    start, length, count
        The first query, the queries of a block, and the blocks.
    first
        The first key of the first block; those of the next block begin `length` later. Before 0 there is
        nothing, nor after the last key.
    span
        Keys of a block.
    sees_future
        Whether any query sees a later token than itself.
    visible
        The visible keys of a lone block.
    """

    start: int
    length: int
    count: int
    first: int
    span: int
    sees_future: bool
    visible: VisibleKeys | None = None

    @property
    def stop(self) -> int:
        """The query after the last."""
        return self.start + self.count * self.length

    @property
    def last(self) -> int:
        """The key after the last."""
        return self.first + (self.count - 1) * self.length + self.span


def batch_blocks(blocks: Iterable[VisibleKeys], *, most: int) -> Iterator[BlockBatch]:
    """Yield batches of as many consecutive blocks as their key ranges allow.

    Parameters
    ----------
    blocks
        Visible keys of blocks, in order.
    most
        Rows times keys of a batch; a lone block may have more.
    """
    group: list[VisibleKeys] = []
    for block in blocks:
        if group and not _fits([*group, block], most):
            yield _batch(group)
            group = []
        group.append(block)
    if group:
        yield _batch(group)


def _fits(group: list[VisibleKeys], most: int) -> bool:
    one, last = group[0], group[-1]
    if last.stop - last.start != one.stop - one.start or last.start != group[-2].stop:
        return False
    span = _span(group)[1]
    own = sum(block.last - block.first for block in group)
    return span * len(group) <= min(_WIDER * own, most / (one.stop - one.start))


def _span(group: list[VisibleKeys]) -> tuple[int, int]:
    """Return where the keys of a block begin, counted from its first query, and how many there are."""
    length = group[0].stop - group[0].start
    low = min(block.first - block.start for block in group) // length * length
    return low, -(-(max(block.last - block.start for block in group) - low) // _SPAN) * _SPAN


def _batch(group: list[VisibleKeys]) -> BlockBatch:
    one = group[0]
    if len(group) == 1:
        low, high = one.first // _ALONE * _ALONE, -(-one.last // _ALONE) * _ALONE
        return BlockBatch(one.start, one.stop - one.start, 1, low, high - low, one.sees_future, one)
    low, span = _span(group)
    future = any(block.sees_future for block in group)
    return BlockBatch(one.start, one.stop - one.start, len(group), one.start + low, span, future)

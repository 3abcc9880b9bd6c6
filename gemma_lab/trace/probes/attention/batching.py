"""Batch query blocks whose key ranges have the same offset, so that a local layer costs only its window."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from .visible_keys import VisibleKeys

#: Key spans are rounded up to a multiple of these, so that `top_keys` can fold them: batches, single blocks.
_SPAN, _ALONE = 32, 64
#: Maximum ratio of the span of a batch to the mean span of its blocks; the first blocks of a band have less.
_WIDER = 1.5


@dataclass(frozen=True)
class BlockBatch:
    """Consecutive query blocks of equal length, whose key ranges have the same offset.

    Attributes
    ----------
    start, length, count
        First query, queries per block, and number of blocks.
    first
        First key of the first block; that of the next block is `length` later. Indices before 0 and after the
        last key are padding.
    span
        Keys per block.
    sees_future
        Whether any query sees a later token than itself.
    visible
        The visible keys, if there is only one block.
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


def batch_blocks(blocks: Iterable[VisibleKeys], *, max_size: int) -> Iterator[BlockBatch]:
    """Yield batches of as many consecutive blocks as their key ranges allow.

    Parameters
    ----------
    blocks
        Visible keys of blocks, in order.
    max_size
        Maximum of rows times keys of a batch; a single block may have more.
    """
    group: list[VisibleKeys] = []
    for block in blocks:
        if group and not _fits([*group, block], max_size):
            yield _batch(group)
            group = []
        group.append(block)
    if group:
        yield _batch(group)


def _fits(group: list[VisibleKeys], max_size: int) -> bool:
    one, last = group[0], group[-1]
    if last.stop - last.start != one.stop - one.start or last.start != group[-2].stop:
        return False
    span = _span(group)[1]
    own = sum(block.last - block.first for block in group)
    return span * len(group) <= min(_WIDER * own, max_size / (one.stop - one.start))


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

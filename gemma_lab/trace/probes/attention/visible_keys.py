"""Which keys a block of queries sees, found once for every mask of a pass."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch

#: Of fewer queries a product is slow, and of fewer still it is not worth the while.
_EFFICIENT, _LEAST = 32, 4


@dataclass(frozen=True)
class VisibleKeys:
    """What a block of queries sees of the keys of its pass.

    Attributes
    ----------
    start, stop
        The queries.
    first, last
        The keys from the first that any of them sees to the one after the last.
    clear
        ``(first, last)`` of keys that all of them see: no mask is needed there.
    ahead
        Whether one of them sees a later token than itself.
    """

    start: int
    stop: int
    first: int
    last: int
    clear: tuple[int, int]
    ahead: bool = False


def fitting(block: int, *, keys: int, most: int) -> int:
    """Return how many queries to take at once: `block`, or half as many as often as it takes.

    Parameters
    ----------
    block
        How many there should be.
    keys
        That the last of them sees.
    most
        Queries times keys; up to twice as many rather than fewer than 32 queries, and never fewer than 4.
    """
    while block * keys > (most if block > _EFFICIENT else 2 * most) and block > _LEAST:
        block = max(_LEAST, block // 2)
    return block


def causal_sights(
    queries: int, keys: int, *, lead: int, block: int, most: int | None = None
) -> Iterator[VisibleKeys]:
    """Yield blocks of queries of which query *i* sees the keys up to ``lead + i``.

    They have `block` queries, or what is `fitting` when `most` is given.
    """
    start = 0
    while start < queries:
        size = block if most is None else fitting(block, keys=lead + start + block, most=most)
        stop = min(start + size, queries)
        yield VisibleKeys(start, stop, 0, min(keys, lead + stop), (0, min(keys, lead + start + 1)))
        start = stop


def open_sights(queries: int, keys: int, *, block: int) -> Iterator[VisibleKeys]:
    """Yield blocks of queries that see every key."""
    for start in range(0, queries, block):
        yield VisibleKeys(start, min(start + block, queries), 0, keys, (0, keys), ahead=queries > 1)


def masked_sights(mask: torch.Tensor, *, lead: int, block: int) -> list[VisibleKeys]:
    """Return blocks of queries by what a mask lets them see.

    Parameters
    ----------
    mask
        ``[1 or heads, queries, keys]``, see `visible`.
    lead
        Which key is the first query's own token.
    block
        Queries in a block. Blocks in which no query sees a key (padding) are left out.
    """
    shown = visible(mask)
    alone = mask.shape[0] == 1
    some, every = (shown[0], shown[0]) if alone else (shown.any(dim=0), shown.all(dim=0))
    queries = mask.shape[1]
    whole = queries // block * block
    found = []  # on the device, fetched at once
    if whole:
        found.append(_bounds(some[:whole], every[:whole], lead=lead, block=block))
    if whole < queries:
        found.append(_bounds(some[whole:], every[whole:], lead=lead + whole, block=queries - whole))
    listed = torch.cat(found).tolist() if found else []
    added = mask.dtype != torch.bool  # then it may change what it does not hide
    return [
        VisibleKeys(
            at,
            min(at + block, queries),
            first,
            last,
            (first, first) if added else (min(low, last), min(high, last)),
            bool(later) or last > lead + min(at + block, queries),
        )
        for at, (first, last, low, high, later) in zip(range(0, queries, block), listed, strict=True)
        if last > first
    ]


def _bounds(some: torch.Tensor, every: torch.Tensor, *, lead: int, block: int) -> torch.Tensor:
    """Return, by block: the keys that any query sees, those that every one does, whether one looks ahead.

    Parameters
    ----------
    some, every
        Which keys some head sees and which every head does, ``[queries, keys]``; whole blocks.
    lead, block
        See `masked_sights`. Looking ahead is told of the keys that are the block's own tokens.
    """
    blocks = some.shape[0] // block
    # amax() of bytes is many times faster than any() on a CPU
    seen = some.view(torch.uint8).view(blocks, block, -1).amax(dim=1).bool()
    clear = every.view(torch.uint8).view(blocks, block, -1).amin(dim=1).bool()
    own = some[:, lead : lead + blocks * block].view(blocks, block, blocks, block)
    squares = own.diagonal(dim1=0, dim2=2).permute(2, 0, 1)
    ahead = squares.triu(1).flatten(1).any(dim=1)
    return torch.stack([*_around(seen), *_stretch(clear), ahead.long()], dim=1)


def visible(mask: torch.Tensor) -> torch.Tensor:
    """Return a mask as booleans; one that is added to the scores hides where it is near its type's least."""
    return mask if mask.dtype == torch.bool else mask > torch.finfo(mask.dtype).min / 2


def _around(rows: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the first True of each row and the one after the last; equal or beyond where there is none."""
    place, span = torch.arange(rows.shape[1], device=rows.device), rows.shape[1]
    return torch.where(rows, place, span).amin(dim=1), torch.where(rows, place, -1).amax(dim=1) + 1


def _stretch(rows: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the first True of each row and the first False after it."""
    place, span = torch.arange(rows.shape[1], device=rows.device), rows.shape[1]
    first = torch.where(rows, place, span).amin(dim=1)
    return first, torch.where(rows | (place < first[:, None]), span, place).amin(dim=1)

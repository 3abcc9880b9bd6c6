"""Find which keys each block of queries sees, once for every mask of a pass."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch

#: Products with fewer queries are slow; blocks are never smaller than the second number.
_EFFICIENT, _LEAST = 32, 4


@dataclass(frozen=True)
class VisibleKeys:
    """The visible keys of one block of queries.

    Attributes
    ----------
    start, stop
        The queries.
    first, last
        The keys from the first that any of them sees to the one after the last.
    unmasked
        ``(first, last)`` of keys that all of them see: no mask is needed there.
    sees_future
        Whether any of them sees a later token than itself.
    """

    start: int
    stop: int
    first: int
    last: int
    unmasked: tuple[int, int]
    sees_future: bool = False


def shrink_block(block: int, *, keys: int, most: int) -> int:
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


def causal_blocks(
    queries: int, keys: int, *, lead: int, block: int, most: int | None = None
) -> Iterator[VisibleKeys]:
    """Yield blocks of queries of which query *i* sees the keys up to ``lead + i``.

    They have `block` queries, or what is `shrink_block` when `most` is given.
    """
    start = 0
    while start < queries:
        size = block if most is None else shrink_block(block, keys=lead + start + block, most=most)
        stop = min(start + size, queries)
        yield VisibleKeys(start, stop, 0, min(keys, lead + stop), (0, min(keys, lead + start + 1)))
        start = stop


def full_blocks(queries: int, keys: int, *, block: int) -> Iterator[VisibleKeys]:
    """Yield blocks of queries that see every key."""
    for start in range(0, queries, block):
        yield VisibleKeys(start, min(start + block, queries), 0, keys, (0, keys), sees_future=queries > 1)


def masked_blocks(mask: torch.Tensor, *, lead: int, block: int) -> list[VisibleKeys]:
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
    one_mask = mask.shape[0] == 1
    some, every = (shown[0], shown[0]) if one_mask else (shown.any(dim=0), shown.all(dim=0))
    queries = mask.shape[1]
    complete = queries // block * block
    bounds = []  # on the device, fetched at once
    if complete:
        bounds.append(_bounds(some[:complete], every[:complete], lead=lead, block=block))
    if complete < queries:
        bounds.append(
            _bounds(some[complete:], every[complete:], lead=lead + complete, block=queries - complete)
        )
    listed = torch.cat(bounds).tolist() if bounds else []
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
    """Return, by block, the range of visible keys, the range that all queries see, and `sees_future`.

    Whether a query sees a later token is decided within the squares of a block's queries by its own tokens.
    With two blocks of 2 queries, ``own`` below is the 4 × 4 mask, cut into 2 × 2 squares, of which those on
    the diagonal matter; a block sees the future if anything is set above the diagonal of its square::

        x o │ .       x  visible     o  visible in the future: block 0 has one
        x x │ .
        ────┼────
        . . │ x .
        . . │ x x

    Parameters
    ----------
    some, every
        Which keys some head sees, and which every head does, ``[queries, keys]``; complete blocks.
    lead, block
        See `masked_blocks`.

    Returns
    -------
    Tensor
        int64 ``[blocks, 5]``.
    """
    blocks = some.shape[0] // block
    # amax() of bytes is many times faster than any() on a CPU
    seen = some.view(torch.uint8).view(blocks, block, -1).amax(dim=1).bool()  # [blocks, keys]
    unmasked = every.view(torch.uint8).view(blocks, block, -1).amin(dim=1).bool()  # [blocks, keys]
    own = some[:, lead : lead + blocks * block].view(blocks, block, blocks, block)  # [block, q, block, k]
    squares = own.diagonal(dim1=0, dim2=2).permute(2, 0, 1)  # [blocks, q, k]
    future = squares.triu(1).flatten(1).any(dim=1)
    return torch.stack([*_around(seen), *_first_run(unmasked), future.long()], dim=1)


def visible(mask: torch.Tensor) -> torch.Tensor:
    """Return a mask as booleans; an additive one hides where it is near its dtype's minimum."""
    return mask if mask.dtype == torch.bool else mask > torch.finfo(mask.dtype).min / 2


def _around(rows: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the first True of each row and the one after the last; equal or beyond where there is none."""
    index, span = torch.arange(rows.shape[1], device=rows.device), rows.shape[1]
    return torch.where(rows, index, span).amin(dim=1), torch.where(rows, index, -1).amax(dim=1) + 1


def _first_run(rows: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the first True of each row and the first False after it."""
    index, span = torch.arange(rows.shape[1], device=rows.device), rows.shape[1]
    first = torch.where(rows, index, span).amin(dim=1)
    return first, torch.where(rows | (index < first[:, None]), span, index).amin(dim=1)

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
        First query of the block, and the one after the last.
    first, last
        First key that any query sees, and the one after the last.
    unmasked
        ``(first, last)`` of the keys that every query sees: no mask is needed there.
    sees_future
        Whether any query sees a later token than itself.
    """

    start: int
    stop: int
    first: int
    last: int
    unmasked: tuple[int, int]
    sees_future: bool = False


def shrink_block(block: int, *, keys: int, max_size: int) -> int:
    """Halve the size of a block of queries until queries times keys are at most `max_size`.

    Parameters
    ----------
    block
        Initial number of queries.
    keys
        Number of keys that the last query sees.
    max_size
        Maximum of queries times keys. Blocks of up to 32 queries may have twice as many; no block has fewer
        than 4 queries.
    """
    while block * keys > (max_size if block > _EFFICIENT else 2 * max_size) and block > _LEAST:
        block = max(_LEAST, block // 2)
    return block


def causal_blocks(
    queries: int, keys: int, *, lead: int, block: int, max_size: int | None = None
) -> Iterator[VisibleKeys]:
    """Yield blocks of queries of which query *i* sees the keys up to ``lead + i``.

    Blocks have `block` queries; with `max_size`, `shrink_block` reduces them.
    """
    start = 0
    while start < queries:
        size = block
        if max_size is not None:
            size = shrink_block(block, keys=lead + start + block, max_size=max_size)
        stop = min(start + size, queries)
        yield VisibleKeys(start, stop, 0, min(keys, lead + stop), (0, min(keys, lead + start + 1)))
        start = stop


def full_blocks(queries: int, keys: int, *, block: int) -> Iterator[VisibleKeys]:
    """Yield blocks of queries that see every key."""
    for start in range(0, queries, block):
        yield VisibleKeys(start, min(start + block, queries), 0, keys, (0, keys), sees_future=queries > 1)


def masked_blocks(mask: torch.Tensor, *, lead: int, block: int) -> list[VisibleKeys]:
    """Return blocks of queries with the keys that a mask makes visible to them.

    Parameters
    ----------
    mask
        ``[1 or heads, queries, keys]``, see `visible`.
    lead
        Index of the key that is the first query's own token.
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

"""Which keys a block of queries sees, found once for every mask of a pass."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Sight:
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


def causal_sights(queries: int, keys: int, *, lead: int, block: int) -> Iterator[Sight]:
    """Yield blocks of queries of which query *i* sees the keys up to ``lead + i``."""
    for start in range(0, queries, block):
        stop = min(start + block, queries)
        yield Sight(start, stop, 0, min(keys, lead + stop), (0, min(keys, lead + start + 1)))


def open_sights(queries: int, keys: int, *, block: int) -> Iterator[Sight]:
    """Yield blocks of queries that see every key."""
    for start in range(0, queries, block):
        yield Sight(start, min(start + block, queries), 0, keys, (0, keys), ahead=queries > 1)


def masked_sights(mask: torch.Tensor, *, lead: int, block: int) -> list[Sight]:
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
    starts = range(0, mask.shape[1], block)
    bounds = [
        torch.stack([*_around(_any(some[at : at + block])), *_stretch(_all(every[at : at + block]))])
        for at in starts
    ]  # on the device, fetched at once
    listed = torch.stack(bounds).tolist() if bounds else []
    # above the diagonal, as far as any query sees
    above = [
        _any(some[at : at + block, lead + at + 1 : last].triu().flatten())
        if last > lead + at + 1
        else some.new_zeros(())
        for at, (_, last, _, _) in zip(starts, listed, strict=True)
    ]
    ahead = torch.stack(above).tolist() if above else []
    added = mask.dtype != torch.bool  # then it may change what it does not hide
    return [
        Sight(
            at,
            min(at + block, mask.shape[1]),
            first,
            last,
            (first, first) if added else (min(low, last), min(high, last)),
            later,
        )
        for at, (first, last, low, high), later in zip(starts, listed, ahead, strict=True)
        if last > first
    ]


def visible(mask: torch.Tensor) -> torch.Tensor:
    """Return a mask as booleans; one that is added to the scores hides where it is near its type's least."""
    return mask if mask.dtype == torch.bool else mask > torch.finfo(mask.dtype).min / 2


def _any(rows: torch.Tensor) -> torch.Tensor:
    return rows.view(torch.uint8).amax(dim=0).bool()  # many times faster than any() on a CPU


def _all(rows: torch.Tensor) -> torch.Tensor:
    return rows.view(torch.uint8).amin(dim=0).bool()


def _around(row: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the first True of a row and the one after the last; equal or beyond where there is none."""
    place = torch.arange(row.shape[0], device=row.device)
    return torch.where(row, place, row.shape[0]).amin(), torch.where(row, place, -1).amax() + 1


def _stretch(row: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the first True of a row and the first False after it."""
    place = torch.arange(row.shape[0], device=row.device)
    first = torch.where(row, place, row.shape[0]).amin()
    return first, torch.where(row | (place < first), row.shape[0], place).amin()

"""Hits of caches of every size in one pass over the requests: Mattson's stack algorithms.

Mattson, Gecsei, Slutz and Traiger 1970, *Evaluation techniques for storage hierarchies*, IBM Systems Journal
9(2), 78–117: if a policy has a priority order that does not depend on the cache's size, the cache of c places
holds the first c items of one list, so a request hits in every cache larger than its depth there. Example
with LRU: after the requests a b c the list is c b a. A request for b finds it at depth 1, so it hits in
caches of 2 or more places, and the list becomes b c a.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Ids = NDArray[np.intp]
Counts = NDArray[np.int64]
_CELLS = 250_000  # compared at once: they stay in the processor's cache
_WIDE = 65_536  # comparisons a step above which sorting is cheaper


def lru_hits(ids: Ids, items: int) -> Counts:
    """Return the hits of least-recently-used caches of 1, 2, …, `items` places, ``[items]``.

    A request hits if the cache is larger than the number of *other* items requested since its own last
    request (the stack distance). All items of a step differ, so a step is counted at once: items whose last
    request before the step is newer, and items earlier in the step whose last request is older.

    Parameters
    ----------
    ids
        ``[steps, m]``: the items of each step, in order, different within a step.
    items
        Total number of items.
    """
    depths = _wide_depths(ids, items) if ids.shape[1] * items > _WIDE else _depths(ids, items)
    return _hits(depths, items)


def priority_hits(ids: NDArray[Any], items: int, priority: NDArray[np.int64], *, bypass: bool) -> Counts:
    """Return the hits of caches of 1, 2, …, `items` places that evict the item of lowest priority.

    Parameters
    ----------
    ids
        ``[rows, requests]``: independent caches, one request per column.
    items
        Total number of items.
    priority
        ``[rows, requests]``: priority of an item from its request until its next; all different within a row,
        and independent of the cache's size.
    bypass
        True if the requested item itself may be the one that is not kept. False: it is always loaded.

    Returns
    -------
    numpy.ndarray
        ``[rows, items]``.
    """
    rows, requests = ids.shape
    at = np.arange(rows)
    stack = np.full(
        (rows, items), -1, dtype=np.int64
    )  # priorities, first those kept longest; -1: a free place
    held = np.full((rows, items), -1, dtype=np.int64)  # priority under which an item is in its stack
    filled = np.zeros(rows, dtype=np.intp)
    hits = np.zeros((rows, items + 1), dtype=np.int64)
    for number in range(requests):
        chosen, new = ids[:, number], priority[:, number]
        old = held[at, chosen]
        known = old >= 0
        depth = np.where(known, (stack == old[:, None]).argmax(axis=1), items)
        hits[at, depth] += 1
        end = np.where(
            known, depth, filled
        )  # the place that the requested item leaves, or the first free one
        filled += ~known
        held[at, chosen] = new
        _percolate(stack[:, : int(end.max()) + 1], end, new, bypass=bypass)
    return hits[:, :items].cumsum(axis=1)


def _percolate(stack: Counts, end: Ids, new: Counts, *, bypass: bool) -> None:
    """Insert a priority into each stack, down to its `end`, in place.

    At every position the larger of the stored and the carried priority stays, and the smaller moves on: what
    arrives at a position is the smallest of all above it.
    """
    carried = np.empty_like(stack)
    carried[:, 0] = new
    carried[:, 1:] = stack[:, :-1]
    if bypass:
        np.minimum.accumulate(carried, axis=1, out=carried)
    else:
        np.minimum.accumulate(carried[:, 1:], axis=1, out=carried[:, 1:])
    place = np.arange(stack.shape[1])
    moved = np.where(place < end[:, None], np.maximum(carried, stack), stack)
    at = np.arange(len(stack))
    moved[at, end] = carried[at, end]
    if not bypass:
        moved[:, 0] = new
    stack[:] = moved


def _depths(ids: Ids, items: int) -> Counts:
    """Return the stack distances ``[steps, m]``; `items` for a first request."""
    steps, m = ids.shape
    before_in_step = np.tri(m, m, -1, dtype=bool)
    length = max(1, _CELLS // (m * items))
    kind = np.int32 if ids.size < 2**31 else np.int64  # of positions: the narrower, the faster to compare
    latest = np.full(items, -1, dtype=kind)  # position of each item's last request
    depths = np.empty((steps, m), dtype=np.int64)
    for start in range(0, steps, length):
        part = ids[start : start + length]
        seen = np.full((len(part) + 1, items), -1, dtype=kind)
        seen[0] = latest
        positions = np.arange(start * m, (start + len(part)) * m, dtype=kind).reshape(part.shape)
        np.put_along_axis(seen[1:], part, positions, axis=1)
        np.maximum.accumulate(seen, axis=0, out=seen)
        latest = seen[-1].copy()
        own = np.take_along_axis(seen[:-1], part, axis=1)
        newer = (seen[:-1, None, :] > own[:, :, None]).sum(axis=2, dtype=np.uint32)
        passed = ((own[:, None, :] < own[:, :, None]) & before_in_step).sum(axis=2)
        depths[start : start + len(part)] = np.where(own < 0, items, newer + passed)
    return depths


def _wide_depths(ids: Ids, items: int) -> Counts:
    """Return the same as `_depths`, step by step, where steps or items are too many to compare all pairs."""
    steps, m = ids.shape
    before_in_step = np.tri(m, m, -1, dtype=bool)
    latest = np.full(items, -1, dtype=np.int64)
    depths = np.empty((steps, m), dtype=np.int64)
    for step, part in enumerate(ids):
        own = latest[part]
        newer = items - np.searchsorted(np.sort(latest), own, side="right")
        passed = ((own[None, :] < own[:, None]) & before_in_step).sum(axis=1)
        depths[step] = np.where(own < 0, items, newer + passed)
        latest[part] = np.arange(step * m, (step + 1) * m)
    return depths


def _hits(depths: Counts, items: int) -> Counts:
    return np.bincount(depths.ravel(), minlength=items + 1)[:items].cumsum()

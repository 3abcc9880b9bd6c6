"""Maps of attention between bins of tokens, kept as bands along the diagonal."""

from __future__ import annotations

from typing import Any

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]


def to_band(maps: Array, *, before: int, after: int) -> Array:
    """Return the band of square maps.

    Parameters
    ----------
    maps
        ``[heads, bins, bins]``: row *i* is a bin of queries, column *j* a bin of keys.
    before, after
        How many bins before and after its own a bin of queries reaches.

    Returns
    -------
    array
        ``[heads, bins, before + 1 + after]``: column *s* of row *i* is the bin of keys ``i - before + s``,
        zero where there is none.
    """
    bins = maps.shape[-1]
    band = np.zeros((*maps.shape[:2], before + 1 + after), dtype=maps.dtype)
    for step in range(-before, after + 1):
        rows = slice(max(0, -step), min(bins, bins - step))
        band[:, rows, step + before] = np.diagonal(maps, offset=step, axis1=1, axis2=2)
    return band


def from_band(band: Array, *, before: int) -> Array:
    """Return the square maps ``[heads, bins, bins]`` of a band; the inverse of `to_band`."""
    heads, bins, width = band.shape
    maps = np.zeros((heads, bins, bins), dtype=band.dtype)
    for column in range(width):
        step = column - before
        rows = np.arange(max(0, -step), min(bins, bins - step))
        maps[:, rows, rows + step] = band[:, rows, column]
    return maps


def band_extent(maps: Array) -> tuple[int, int]:
    """Return how many bins before and after its own any bin of queries reaches in square maps."""
    rows, columns = np.nonzero(np.asarray(maps).any(axis=0))
    if not len(rows):
        return 0, 0
    return max(0, int((rows - columns).max())), max(0, int((columns - rows).max()))

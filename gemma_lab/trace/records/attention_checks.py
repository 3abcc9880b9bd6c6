"""Conditions that recorded attention meets: shapes, sums, ranges, and no attention to later tokens."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ...errors import BadTrace
from .attention import MAX_BINS

if TYPE_CHECKING:
    from .attention import Attention

Array = np.ndarray[Any, np.dtype[Any]]

#: How far the sum of a row may be from 1: rounding of narrow types over many terms.
_TOLERANCE = 2e-3
#: Numbers that describe a box: x0, y0, x1, y1 of an image; first frame and the one after the last of a clip.
BOX_SIZES = {"vision": 4, "audio": 2}
_STATISTICS = {"entropy", "first_token_mass", "distance", "mass_by_label"}
_TOP_KEYS = {"keys", "weights"}


def check_attention(attention: Attention) -> None:
    """Raise `BadTrace` unless shapes match and every number is one that attention can give."""
    _check_layout(attention)
    _check_pooled(attention)
    _check_per_query(attention)
    _check_full_rows(attention)
    _check_towers(attention)


def check_visible_keys(attention: Attention, last_visible: Array) -> None:
    """Raise `BadTrace` if a query attends to a token after the last one that it can see.

    Parameters
    ----------
    attention
        Recorded attention.
    last_visible
        The last key that each query may attend to, ``[tokens]``.
    """
    for (layer, query), (first, row) in attention.full_rows.items():
        if first + row.shape[1] - 1 > last_visible[query]:
            raise _bad(f"row {query} of layer {layer} attends to later tokens")
    if attention.top_k:
        for layout, keys in zip(attention.layers, attention.per_query["keys"], strict=True):
            if (keys > last_visible[:, None, None]).any():
                raise _bad(f"top keys of layer {layout.layer} are later tokens")
    edges = attention.bin_edges
    furthest = np.maximum.reduceat(last_visible, edges[:-1])
    allowed = np.searchsorted(edges, furthest, side="right") - 1 - np.arange(attention.bins)
    for layer, band in attention.bands.items():
        offsets = np.arange(band.shape[-1]) - attention.bins_before[layer]
        if band[:, offsets > allowed[:, None]].any():
            raise _bad(f"the pooled map of layer {layer} attends to later tokens")


def _bad(what: str) -> BadTrace:
    return BadTrace(f"The attention is not sound: {what}.", hint="Trace again, or open another file.")


def _check_layout(attention: Attention) -> None:
    edges, layers, heads = attention.bin_edges, attention.layers, attention.heads
    if edges.ndim != 1 or len(edges) < 2 or edges[0] != 0 or edges[-1] != len(attention):
        raise _bad(f"its bins do not cover its {len(attention):,} tokens")
    if (np.diff(edges) < 1).any() or len(edges) - 1 > MAX_BINS:
        raise _bad("its bins are not in order")
    if len({layout.layer for layout in layers}) != len(layers) or len(set(heads)) != len(heads) or not heads:
        raise _bad("its layers or heads repeat, or it has no heads")
    if len(set(attention.labels)) != len(attention.labels):
        raise _bad("its labels repeat")
    for layout in layers:
        if not 0 < layout.kv_heads <= layout.heads or max(heads) >= layout.heads or min(heads) < 0:
            raise _bad(f"layer {layout.layer} has {layout.heads} heads and {layout.kv_heads} key-value heads")
        kind = "global" if layout.window is None else "local"
        if layout.kind != kind or (layout.window is not None and layout.window < 1) or layout.layer < 0:
            raise _bad(f"layer {layout.layer} is {layout.kind} with a window of {layout.window}")


def _check_pooled(attention: Attention) -> None:
    if attention.bands and set(attention.bands) != {layout.layer for layout in attention.layers}:
        raise _bad("its pooled maps are of other layers")
    for layer, band in attention.bands.items():
        before = attention.bins_before.get(layer, -1)
        if band.shape[:2] != (len(attention.heads), attention.bins) or not 0 <= before < band.shape[-1]:
            raise _bad(f"the pooled map of layer {layer} has shape {band.shape}")
        _check_sums(band, f"the pooled map of layer {layer}")


def _check_per_query(attention: Attention) -> None:
    heads, k = len(attention.heads), attention.top_k
    shapes: dict[str, tuple[int, ...]] = {
        "entropy": (heads,),
        "first_token_mass": (heads,),
        "distance": (heads,),
        "mass_by_label": (len(attention.labels), heads),
        "keys": (heads, k),
        "weights": (heads, k),
    }
    for name, array in attention.per_query.items():
        shape = (len(attention.layers), len(attention), *shapes.get(name, (-1,)))
        if array.shape != shape:
            raise _bad(f"its {name} has shape {array.shape}")
        for values in array:  # one layer at a time: memory maps stay on disk
            if name in ("first_token_mass", "mass_by_label", "weights"):
                _check_range(values, name)
            elif name == "keys":
                if len(values) and not (values.min() >= -1 and values.max() < len(attention)):
                    raise _bad(f"its top keys run from {values.min()} to {values.max()}")
            elif not (np.isfinite(values).all() and (values >= 0).all()):
                raise _bad(f"a value of its {name} is negative or not finite")


def check_complete(attention: Attention) -> None:
    """Raise `BadTrace` unless all statistics are there or none, as a file holds them."""
    for group in (_STATISTICS, _TOP_KEYS):
        if (found := group & set(attention.per_query)) and found != group:
            raise _bad(f"it has {', '.join(sorted(found))} and not {', '.join(sorted(group - found))}")


def _check_full_rows(attention: Attention) -> None:
    layers = {layout.layer for layout in attention.layers}
    for (layer, query), (first, row) in attention.full_rows.items():
        if layer not in layers or not 0 <= query < len(attention):
            raise _bad(f"row {query} of layer {layer} is of a layer or a token that it does not have")
        if row.shape[0] != len(attention.heads) or first < 0 or first + row.shape[1] > len(attention):
            raise _bad(f"row {query} of layer {layer} has shape {row.shape}")
        _check_sums(row, f"row {query} of layer {layer}")


def _check_towers(attention: Attention) -> None:
    for name, several in attention.towers.items():
        for number, tower in enumerate(several):
            what = f"the {name} tower's attention {number}"
            pooled, boxes = tower.pooled, tower.boxes
            if pooled.ndim != 4 or pooled.shape[2] != pooled.shape[3] or not 0 < pooled.shape[2] <= 1 << 16:
                raise _bad(f"{what} has shape {pooled.shape}")
            if boxes.shape != (pooled.shape[2], BOX_SIZES.get(name)) or tower.positions < 1:
                raise _bad(f"{what} has boxes of shape {boxes.shape} and {tower.positions} positions")
            _check_sums(pooled, what)
            half = boxes.shape[1] // 2
            if (boxes < 0).any() or (boxes[:, :half] >= boxes[:, half:]).any():
                raise _bad(f"{what} has a box that is negative or empty")


def _check_sums(rows: Array, what: str) -> None:
    _check_range(rows, what)
    error = float(np.abs(rows.sum(-1, dtype=np.float64) - 1).max(initial=0))
    if not error <= _TOLERANCE:
        raise _bad(f"a row of {what} misses 1 by {error:.3g}")


def _check_range(values: Array, what: str) -> None:
    if values.size and not (values.min() >= 0 and values.max() <= 1 + _TOLERANCE):  # refuses NaN too
        raise _bad(f"{what} runs from {values.min()} to {values.max()}")

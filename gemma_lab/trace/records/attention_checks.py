"""Whether a captured attention can be one: shapes, sums, ranges."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ...errors import BadTrace

if TYPE_CHECKING:
    from .attention import Attention

Array = np.ndarray[Any, np.dtype[Any]]

#: A row may miss 1 by this much; coarse types and the sum of many terms add their steps.
_ABOUT = 2e-3
_AGAIN = "Trace again, or open another file."


def check_attention(attention: Attention) -> None:
    """Raise `BadTrace` unless shapes fit and every number is one that attention can give."""
    _check_frame(attention)
    _check_maps(attention)
    _check_numbers(attention)
    _check_rows(attention)


def _bad(what: str) -> BadTrace:
    return BadTrace(f"The attention is not sound: {what}.", hint=_AGAIN)


def _check_frame(attention: Attention) -> None:
    edges, names = attention.bin_edges, [layout.layer for layout in attention.layers]
    if edges.ndim != 1 or len(edges) < 2 or edges[0] != 0 or edges[-1] != len(attention):
        raise _bad(f"its bins do not cover its {len(attention):,} tokens")
    if (np.diff(edges) < 1).any() or len(edges) - 1 > 256:
        raise _bad("its bins are not in order")
    heads = attention.heads
    if len(set(names)) != len(names) or len(set(heads)) != len(heads) or not heads:
        raise _bad("its layers or heads repeat, or it has no heads")
    for layout in attention.layers:
        if not 0 < layout.kv_heads <= layout.heads or max(attention.heads) >= layout.heads:
            raise _bad(f"layer {layout.layer} has {layout.heads} heads and {layout.kv_heads} key-value heads")


def _check_maps(attention: Attention) -> None:
    for layer, band in attention.bands.items():
        behind = attention.bins_before.get(layer, -1)
        if band.shape[:2] != (len(attention.heads), attention.bins) or not 0 <= behind < band.shape[-1]:
            raise _bad(f"the map of layer {layer} has shape {band.shape}")
        _unit(band, f"the map of layer {layer}")
        off = float(np.abs(band.sum(-1, dtype=np.float64) - 1).max())
        if not off <= _ABOUT:
            raise _bad(f"a row of the map of layer {layer} misses 1 by {off:.3g}")


def _check_numbers(attention: Attention) -> None:
    place = (len(attention.layers), len(attention))
    heads, k = len(attention.heads), attention.top_k
    shapes = {
        "entropy": (heads,), "first_token_mass": (heads,), "distance": (heads,),
        "mass_by_label": (len(attention.labels), heads), "keys": (heads, k), "weights": (heads, k),
    }  # fmt: skip
    for name, array in attention.per_query.items():
        if array.shape != (*place, *shapes[name]):
            raise _bad(f"its {name} have shape {array.shape}")
        for row in array:  # layer by layer: memory maps stay on disk
            if name in ("first_token_mass", "mass_by_label", "weights"):
                _unit(row, name)
            elif name == "keys":
                if len(row) and not (row.min() >= -1 and row.max() < len(attention)):
                    raise _bad(f"its keys run from {row.min()} to {row.max()}")
            elif not (np.isfinite(row).all() and (row >= 0).all()):
                raise _bad(f"an {name} is negative or no number")


def _check_rows(attention: Attention) -> None:
    for (layer, query), (first, row) in attention.full_rows.items():
        if row.shape[0] != len(attention.heads) or first < 0 or first + row.shape[1] > len(attention):
            raise _bad(f"row {query} of layer {layer} has shape {row.shape}")
        _unit(row, f"row {query} of layer {layer}")
        off = float(np.abs(row.sum(-1, dtype=np.float64) - 1).max())
        if not off <= _ABOUT:
            raise _bad(f"row {query} of layer {layer} misses 1 by {off:.3g}")


def _unit(values: Array, what: str) -> None:
    if values.size and not (values.min() >= 0 and values.max() <= 1 + _ABOUT):  # refuses NaN, too
        raise _bad(f"{what} runs from {values.min()} to {values.max()}")

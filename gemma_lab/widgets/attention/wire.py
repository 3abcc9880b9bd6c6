"""How attention goes to the browser: small maps of all heads, one layer's maps, heaviest keys by the stretch.

The first token is a sink in most heads: often more than half of a row goes there and says nothing. So its
share travels apart (``sink``, an exact mean) and is taken out of the maps before they are quantised; whatever
is left keeps its own scale. A map's cell is a square root in 255 steps: within 0.4 % of a row at the top,
within 0.001 % near zero. Heaviest keys and whole rows have steps of 1/65535.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ...analysis.attention.rows import pool_maps, without_sink
from ..shared.wire import pack

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ...trace.records.attention import Attention

#: Queries whose heaviest keys travel together.
CHUNK = 1024
#: Side of a small map, in bins.
_SMALL = 24
_EIGHT, _SIXTEEN = 255, 65535


def has_statistics(attention: Attention) -> bool:
    """Return whether entropies, distances and masses were recorded."""
    return {"entropy", "first_token_mass", "distance", "mass_by_label"} <= attention.per_query.keys()


def grid_buffer(attention: Attention) -> bytes:
    """Return all heads at a glance: a small map of each, and its means over all queries but the first.

    ``small`` is ``[layers × heads, side, side]``, each map on its own scale; ``means`` is
    ``[measures, layers × heads]`` in the order of ``meta["measures"]``.
    """
    small, means, measures = [], [], _measures(attention)
    for layout in attention.layers:
        maps, sink = without_sink(attention, layout.layer)
        reduced = pool_maps(maps, attention.bin_edges, most=_SMALL)
        tops = np.maximum(np.quantile(reduced.reshape(len(reduced), -1), 0.985, axis=1), 1e-6)
        small.append(_roots(reduced / tops[:, None, None]))
        means.append(_means(attention, layout.layer, sink, measures))
    return pack(
        {
            "small": np.concatenate(small),
            "means": np.concatenate(means, axis=1).astype(np.float32),
        },
        meta={"side": int(small[0].shape[-1]), "measures": measures},
    )


def map_buffer(attention: Attention, row: int) -> bytes:
    """Return one layer's maps and sinks; `row` counts the layers of the attention from 0."""
    maps, sink = without_sink(attention, attention.layers[row].layer)
    lit = np.where(maps > 0, maps, np.nan)
    ends = np.nanquantile(lit.reshape(len(lit), -1), 0.99, axis=1) if (maps > 0).any() else np.ones(len(maps))
    return pack(
        {
            "maps": _roots(maps),
            "sink": _sixteen(sink),
            "ends": np.nan_to_num(ends, nan=1.0).clip(1e-4, 1).astype(np.float32),
        },
        meta={"row": row},
    )


def key_buffer(attention: Attention, row: int, start: int, *, keys: bool = True) -> bytes:
    """Return the heaviest keys of every head for `CHUNK` queries from `start` on, and what is known of each.

    ``keys`` and ``weights`` are ``[heads, queries, k]``; ``entropy`` (as a share of the logarithm of all
    tokens), ``distance`` (as a share of all tokens) and ``first`` are ``[heads, queries]``, ``mass`` is
    ``[labels, heads, queries]``. Without `keys` only what is known of each row.
    """
    total = len(attention)
    here = slice(start, min(total, start + CHUNK))
    arrays: dict[str, NDArray[Any]] = {}
    meta: dict[str, Any] = {
        "row": row,
        "start": start,
        "count": here.stop - start,
        "k": attention.top_k if keys else 0,
        "labels": [],
    }

    def of(name: str) -> NDArray[Any]:
        """Read a stretch of a layer, ``[heads, …, queries]``; memory maps give no more than that."""
        return np.asarray(attention.per_query[name][row, here])

    if meta["k"]:
        kind = np.uint16 if total < _SIXTEEN else np.uint32
        ids = of("keys").swapaxes(0, 1)
        arrays["keys"] = np.where(ids < 0, np.iinfo(kind).max, ids).astype(kind)
        arrays["weights"] = _sixteen(of("weights").swapaxes(0, 1))
    if has_statistics(attention):
        arrays["entropy"] = _sixteen(of("entropy").T.astype(np.float32) / np.log(total + 1))
        arrays["distance"] = _sixteen(of("distance").T.astype(np.float32) / max(1, total))
        arrays["first"] = _sixteen(of("first_token_mass").T)
        kinds = [at for at, name in enumerate(attention.labels) if name.startswith("modality:")]
        meta["labels"] = [attention.labels[at].removeprefix("modality:") for at in kinds]
        arrays["mass"] = _eight(of("mass_by_label")[:, kinds].transpose(1, 2, 0))
    return pack(arrays, meta=meta)


def row_buffer(rows: dict[int, NDArray[np.float32]], row: int) -> bytes:
    """Return whole rows of queries of one layer, every head: arrays ``row_<query>`` of ``[heads, keys]``."""
    return pack({f"row_{query}": _sixteen(weights) for query, weights in rows.items()}, meta={"row": row})


def layouts(attention: Attention) -> list[dict[str, Any]]:
    """Return what each layer is, as plain values; `heads` counts all, captured or not."""
    return [
        {
            "layer": int(one.layer),
            "kind": str(one.kind),
            "window": None if one.window is None else int(one.window),
            "heads": int(one.heads),
            "kv_heads": int(one.kv_heads),
            "kv_shared_from": None if one.kv_shared_from is None else int(one.kv_shared_from),
            "k_eq_v": bool(one.k_eq_v),
        }
        for one in attention.layers
    ]


def _measures(attention: Attention) -> list[str]:
    if not has_statistics(attention):
        return []
    seen = attention.mass_by_label(attention.layers[0].layer)
    soft = [name for name in seen if name in ("modality:image", "modality:video", "modality:audio")]
    return ["entropy", "first", "distance", *(name for name in soft if np.asarray(seen[name]).any())]


def _means(
    attention: Attention, layer: int, sink: NDArray[np.float32], measures: list[str]
) -> NDArray[np.float32]:
    if not measures:
        return np.zeros((0, len(sink)), dtype=np.float32)
    mass = attention.mass_by_label(layer)
    found = {
        "entropy": attention.entropy(layer),
        "first": attention.first_token_mass(layer),
        "distance": attention.distance(layer),
    }
    columns = [
        np.asarray(found[name] if name in found else mass[name], dtype=np.float32) for name in measures
    ]
    # The first token can only look at itself, which says nothing about a head.
    rest = slice(1 if columns[0].shape[1] > 1 else 0, None)
    return np.stack([column[:, rest].mean(axis=1) for column in columns])


def _roots(values: NDArray[Any]) -> NDArray[Any]:
    return _steps(np.sqrt(np.clip(values, 0, 1)), _EIGHT, np.uint8)


def _eight(values: NDArray[Any]) -> NDArray[Any]:
    return _steps(values, _EIGHT, np.uint8)


def _sixteen(values: NDArray[Any]) -> NDArray[Any]:
    return _steps(values, _SIXTEEN, np.uint16)


def _steps(values: NDArray[Any], most: int, kind: type[Any]) -> NDArray[Any]:
    """Return shares as whole steps; in float32, as half precision cannot hold 65535."""
    steps: NDArray[Any] = np.rint(np.clip(np.asarray(values, dtype=np.float32), 0, 1) * most).astype(kind)
    return steps

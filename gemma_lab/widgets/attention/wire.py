"""Wire format of attention: thumbnails of all heads, maps of one layer, chunks of top keys.

The first token is an attention sink in most heads: often more than half of a row's weight. So its weight is
sent separately (``first_token``, an exact mean) and removed from the maps before they are quantised; the rest
keeps a separate scale. A map's cell is a square root in 255 steps: exact to 0.4 % of a row at the top and
to 0.001 % near zero. Top keys and full rows have steps of 1/65535.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ...analysis.attention.rows import pool_maps, without_sink
from ..shared.wire import eight_bits, pack, sixteen_bits

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ...trace.records.attention import Attention

#: Queries whose top keys are sent together.
CHUNK = 1024
#: Side of a thumbnail, in bins.
_THUMBNAIL = 24
_NO_KEY = 65535


def has_statistics(attention: Attention) -> bool:
    """Return whether entropies, distances and masses were recorded."""
    return {"entropy", "first_token_mass", "distance", "mass_by_label"} <= attention.per_query.keys()


def grid_buffer(attention: Attention) -> bytes:
    """Return a thumbnail of every head, and its means over all queries but the first.

    ``thumbnails`` is ``[layers × heads, side, side]``, each on its own scale; ``means`` is
    ``[measures, layers × heads]`` in the order of ``meta["measures"]``.
    """
    small, means, measures = [], [], _measures(attention)
    for layout in attention.layers:
        maps, sink = without_sink(attention, layout.layer)
        reduced = pool_maps(maps, attention.bin_edges, limit=_THUMBNAIL)
        tops = np.maximum(np.quantile(reduced.reshape(len(reduced), -1), 0.985, axis=1), 1e-6)
        small.append(_roots(reduced / tops[:, None, None]))
        means.append(_means(attention, layout.layer, sink, measures))
    return pack(
        {
            "thumbnails": np.concatenate(small),
            "means": np.concatenate(means, axis=1).astype(np.float32),
        },
        meta={"side": int(small[0].shape[-1]), "measures": measures},
    )


def map_buffer(attention: Attention, layer_index: int) -> bytes:
    """Return one layer's maps and first-token weights; `layer_index` counts the recorded layers from 0."""
    maps, sink = without_sink(attention, attention.layers[layer_index].layer)
    lit = np.where(maps > 0, maps, np.nan)
    ends = np.nanquantile(lit.reshape(len(lit), -1), 0.99, axis=1) if (maps > 0).any() else np.ones(len(maps))
    return pack(
        {
            "maps": _roots(maps),
            "first_token": sixteen_bits(sink),
            "scale_max": np.nan_to_num(ends, nan=1.0).clip(1e-4, 1).astype(np.float32),
        },
        meta={"layer_index": layer_index},
    )


def key_buffer(attention: Attention, layer_index: int, start: int, *, keys: bool = True) -> bytes:
    """Return the top keys and the statistics of every head's rows, for `CHUNK` queries from `start` on.

    ``keys`` and ``key_weights`` are ``[heads, queries, k]``; ``entropy`` (divided by the logarithm of the
    number of tokens), ``distance`` (divided by the number of tokens) and ``first_token`` are
    ``[heads, queries]``, ``mass`` is ``[labels, heads, queries]``. Without `keys` only the statistics are
    sent.
    """
    total = len(attention)
    here = slice(start, min(total, start + CHUNK))
    arrays: dict[str, NDArray[Any]] = {}
    meta: dict[str, Any] = {
        "layer_index": layer_index,
        "start": start,
        "count": here.stop - start,
        "k": attention.top_k if keys else 0,
        "labels": [],
    }

    def of(name: str) -> NDArray[Any]:
        """Read one chunk of a layer, ``[heads, …, queries]``; of a memory map no more than that is read."""
        return np.asarray(attention.per_query[name][layer_index, here])

    if meta["k"]:
        kind = np.uint16 if total < _NO_KEY else np.uint32
        ids = of("keys").swapaxes(0, 1)
        arrays["keys"] = np.where(ids < 0, np.iinfo(kind).max, ids.astype(np.int64)).astype(kind)
        arrays["key_weights"] = sixteen_bits(of("weights").swapaxes(0, 1))
    if has_statistics(attention):
        arrays["entropy"] = sixteen_bits(of("entropy").T.astype(np.float32) / np.log(total + 1))
        arrays["distance"] = sixteen_bits(of("distance").T.astype(np.float32) / max(1, total))
        arrays["first_token"] = sixteen_bits(of("first_token_mass").T)
        kinds = [at for at, name in enumerate(attention.labels) if name.startswith("modality:")]
        meta["labels"] = [attention.labels[at].removeprefix("modality:") for at in kinds]
        arrays["mass"] = eight_bits(of("mass_by_label")[:, kinds].transpose(1, 2, 0))
    return pack(arrays, meta=meta)


def row_buffer(rows: dict[int, NDArray[np.float32]], layer_index: int) -> bytes:
    """Return full rows of one layer, all heads: an array ``row_<query>`` of ``[heads, keys]`` per query."""
    return pack(
        {f"row_{query}": sixteen_bits(weights) for query, weights in rows.items()},
        meta={"layer_index": layer_index},
    )


def layouts(attention: Attention) -> list[dict[str, Any]]:
    """Return the layout of every layer as JSON values; `heads` counts all heads, recorded or not."""
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
    # In every head, the first token attends only to itself.
    rest = slice(1 if columns[0].shape[1] > 1 else 0, None)
    return np.stack([column[:, rest].mean(axis=1) for column in columns])


def _roots(values: NDArray[Any]) -> NDArray[np.uint8]:
    return eight_bits(np.sqrt(np.clip(values, 0, 1)))

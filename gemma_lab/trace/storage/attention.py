"""The arrays of an `Attention` in a trace file."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

import msgspec
import numpy as np

from ..records.attention import Attention, HeadLayout, Tower
from ..records.attention_checks import BOX_SIZES
from .container import Archive, Writer
from .schema import AttentionPart, BandPart, FullRowPart, HeadLayoutPart, TowerPart
from .tensors import Shapes, read_tensors, widest_first, write_tensors

Array = np.ndarray[Any, np.dtype[Any]]

MEMBER = "attention.safetensors"
_PER_QUERY = ("entropy", "first_token_mass", "distance", "mass_by_label", "keys", "weights")


def attention_part(attention: Attention) -> AttentionPart:
    """Return what the manifest states about an attention record."""
    layers = [layout.layer for layout in attention.layers]
    bands = [(attention.bins_before[layer], attention.bands[layer]) for layer in layers if attention.bands]
    entropy = attention.per_query.get("entropy")
    towers: Any = {name: tuple(map(_tower_part, several)) for name, several in attention.towers.items()}
    return AttentionPart(
        layers=tuple(HeadLayoutPart(**asdict(layout)) for layout in attention.layers),
        heads=attention.heads,
        bin_edges=tuple(attention.bin_edges.tolist()),
        labels=attention.labels,
        pooled=tuple(BandPart(bins_before=before, columns=band.shape[-1]) for before, band in bands) or None,
        statistics=None if entropy is None else "compact" if entropy.dtype == np.float16 else "full",
        top_k=attention.top_k,
        full_rows=tuple(
            FullRowPart(layer=layer, query=query, first_key=first, keys=row.shape[1])
            for (layer, query), (first, row) in sorted(attention.full_rows.items())
        ),
        towers=towers,
    )


def attention_shapes(part: AttentionPart, tokens: int) -> Shapes:
    """Return type and shape of every array by its name."""
    heads, bins = len(part.heads), len(part.bin_edges) - 1
    per_head = (len(part.layers), tokens, heads)
    small = "<f2" if part.statistics == "compact" else "<f4"
    kinds: dict[str, tuple[str, tuple[int, ...]]] = {
        f"pooled.{layout.layer}": ("<f4", (heads, bins, band.columns))
        for layout, band in zip(part.layers, part.pooled or (), strict=False)
    }
    if part.statistics is not None:
        kinds["entropy"] = kinds["first_token_mass"] = (small, per_head)
        kinds["distance"] = ("<f4", per_head)
        kinds["mass_by_label"] = (small, (*per_head[:2], len(part.labels), heads))
    if part.top_k:
        kinds["keys"] = ("<i4", (*per_head, part.top_k))
        kinds["weights"] = ("<f4", (*per_head, part.top_k))
    kinds["full_rows"] = ("<f4", (heads * sum(row.keys for row in part.full_rows),))
    for name, towers in part.towers.items():
        kinds[f"{name}.pooled"] = ("<f4", (sum(map(_map_size, towers)),))
        kinds[f"{name}.boxes"] = ("<i4", (sum(tower.bins for tower in towers), BOX_SIZES[name]))
    return widest_first(
        {f"attention.{name}": (np.dtype(kind), shape) for name, (kind, shape) in kinds.items()}
    )


def write_attention(writer: Writer, attention: Attention) -> None:
    """Add the arrays of an attention record to a trace file, one layer at a time."""
    shapes = attention_shapes(attention_part(attention), len(attention))
    write_tensors(writer, MEMBER, shapes, lambda name: _chunks(attention, name.removeprefix("attention.")))


def read_attention(archive: Archive, part: AttentionPart, *, tokens: int) -> Attention:
    """Return the attention record of a trace file, with read-only arrays; large ones stay in the file.

    Raises
    ------
    BadTrace
        If the arrays do not have the shapes of `part`.
    """
    arrays = {
        name.removeprefix("attention."): array
        for name, array in read_tensors(archive, MEMBER, attention_shapes(part, tokens)).items()
    }
    layers = [layout.layer for layout in part.layers]
    bands = dict(zip(layers, part.pooled or (), strict=False))
    return Attention(
        layers=tuple(HeadLayout(**msgspec.structs.asdict(layout)) for layout in part.layers),
        heads=part.heads,
        tokens=tokens,
        bin_edges=np.asarray(part.bin_edges, dtype=np.int64),
        labels=part.labels,
        bands={layer: arrays[f"pooled.{layer}"] for layer in bands},
        bins_before={layer: band.bins_before for layer, band in bands.items()},
        per_query={name: arrays[name] for name in _PER_QUERY if name in arrays},
        full_rows=_full_rows(part, arrays["full_rows"]),
        towers={name: _towers(name, towers, arrays) for name, towers in part.towers.items()},
    )


def _tower_part(tower: Tower) -> TowerPart:
    layers, heads, bins = tower.pooled.shape[:3]
    return TowerPart(positions=tower.positions, layers=layers, heads=heads, bins=bins)


def _map_size(tower: TowerPart) -> int:
    return tower.layers * tower.heads * tower.bins**2


def _chunks(attention: Attention, name: str) -> Iterator[Array]:
    if name == "full_rows":
        yield from (row for _, (_, row) in sorted(attention.full_rows.items()))
    elif name.startswith("pooled."):
        yield from attention.bands[int(name.removeprefix("pooled."))]
    elif "." in name:
        tower, _, array = name.partition(".")
        yield from (getattr(each, array) for each in attention.towers[tower])
    else:
        yield from attention.per_query[name]


def _full_rows(part: AttentionPart, values: Array) -> dict[tuple[int, int], tuple[int, Array]]:
    heads, start, rows = len(part.heads), 0, {}
    for row in part.full_rows:
        stop = start + heads * row.keys
        rows[row.layer, row.query] = row.first_key, values[start:stop].reshape(heads, row.keys)
        start = stop
    return rows


def _towers(name: str, parts: tuple[TowerPart, ...], arrays: dict[str, Array]) -> tuple[Tower, ...]:
    towers, start, box = [], 0, 0
    for part in parts:
        stop = start + _map_size(part)
        pooled = arrays[f"{name}.pooled"][start:stop].reshape(part.layers, part.heads, part.bins, part.bins)
        towers.append(Tower(pooled, arrays[f"{name}.boxes"][box : box + part.bins], part.positions))
        start, box = stop, box + part.bins
    return tuple(towers)

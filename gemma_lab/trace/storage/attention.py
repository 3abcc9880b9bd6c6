"""What every head looked at, in a trace file.

The manifest says which layers, heads, bins, labels and rows there are; shapes follow from it, so a reader
knows them before it looks.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from ..records.attention import MOST_BINS, Attention, HeadLayout, Tower
from ..records.attention_checks import check_attention
from .container import Archive, Writer
from .tensors import Shapes, read_tensors, widest_first, write_tensors

Array = np.ndarray[Any, np.dtype[Any]]

MEMBER = "attention.safetensors"
_MOST = 1 << 22  # of anything that is counted
_LAYOUT = {field.name for field in fields(HeadLayout)}
_TOWERS = {"vision": 4, "audio": 2}  # numbers in a box
_STATISTICS = ("entropy", "first_token_mass", "mass_by_label")


@dataclass(frozen=True)
class LooksLayout:
    """What the arrays of an `Attention` look like.

    Attributes
    ----------
    tokens
        How many rows.
    layers
        As dicts of `HeadLayout`.
    heads, edges, labels
        As in `Attention`.
    maps
        By captured layer: bins behind, and columns of its band. None without maps.
    statistics
        ``"compact"`` (float16), ``"full"`` (float32) or None.
    top_k
        Keys of a row.
    rows
        Layer, query, first key and number of keys of each row that was kept.
    towers
        By tower and picture or sound: positions, layers, heads and bins.
    """

    tokens: int
    layers: list[dict[str, Any]]
    heads: list[int]
    edges: list[int]
    labels: list[str]
    maps: list[list[int]] | None
    statistics: str | None
    top_k: int
    rows: list[list[int]]
    towers: dict[str, list[list[int]]]

    @classmethod
    def of(cls, attention: Attention) -> LooksLayout:
        """Return the layout of an attention."""
        names = [layout.layer for layout in attention.layers]
        entropy = attention.per_query.get("entropy")
        return cls(
            tokens=len(attention),
            layers=[{name: getattr(layout, name) for name in sorted(_LAYOUT)} for layout in attention.layers],
            heads=list(attention.heads),
            edges=attention.bin_edges.tolist(),
            labels=list(attention.labels),
            maps=[[attention.bins_before[n], attention.bands[n].shape[-1]] for n in names]
            if attention.bands
            else None,
            statistics=None if entropy is None else "compact" if entropy.dtype == np.float16 else "full",
            top_k=attention.top_k,
            rows=[
                [layer, query, first, row.shape[1]]
                for (layer, query), (first, row) in sorted(attention.full_rows.items())
            ],
            towers={
                name: [[each.positions, *each.pooled.shape[:3]] for each in several]
                for name, several in sorted(attention.towers.items())
            },
        )

    def entry(self) -> dict[str, Any]:
        """Return what the manifest says of it."""
        return {field.name: getattr(self, field.name) for field in fields(self) if field.name != "tokens"}

    @classmethod
    def read(cls, entry: Any, *, tokens: int, archive: Archive) -> LooksLayout:
        """Return the layout that a manifest states.

        Raises
        ------
        BadTrace
            If it states anything else than that.
        """
        names = {field.name for field in fields(cls)} - {"tokens"}
        if not isinstance(entry, dict) or set(entry) != names or not _sound(entry, tokens):
            raise archive.bad("its manifest does not describe an attention")
        return cls(tokens=tokens, **entry)

    def arrays(self) -> Shapes:
        """Return type and shape of every array by its name."""
        heads, bins, place = len(self.heads), len(self.edges) - 1, (len(self.layers), self.tokens)
        small = "<f2" if self.statistics == "compact" else "<f4"
        kinds: dict[str, tuple[str, tuple[int, ...]]] = {}
        if self.maps is not None:
            kinds |= {
                f"map.{layer['layer']}": ("<f4", (heads, bins, width))
                for layer, (_, width) in zip(self.layers, self.maps, strict=True)
            }
        if self.statistics is not None:
            kinds |= {"entropy": (small, (*place, heads)), "first_token_mass": (small, (*place, heads))}
            kinds |= {
                "distance": ("<f4", (*place, heads)), "mass_by_label": (small, (*place, len(self.labels), heads)),
            }  # fmt: skip
        if self.top_k:
            kinds |= {
                name: (kind, (*place, heads, self.top_k))
                for name, kind in (("keys", "<i4"), ("weights", "<f4"))
            }
        kinds["rows"] = ("<f4", (heads * sum(count for *_, count in self.rows),))
        for name, several in self.towers.items():
            kinds[f"{name}.maps"] = ("<f4", (sum(n * h * b * b for _, n, h, b in several),))
            kinds[f"{name}.boxes"] = ("<i4", (sum(b for *_, b in several), _TOWERS[name]))
        return widest_first(
            {f"attention.{name}": (np.dtype(kind), shape) for name, (kind, shape) in kinds.items()}
        )


def write_attention(writer: Writer, attention: Attention) -> None:
    """Add an attention's arrays to a trace file, layer by layer."""
    write_tensors(
        writer, MEMBER, LooksLayout.of(attention).arrays(),
        lambda name: _pieces(attention, name.removeprefix("attention.")),
    )  # fmt: skip


def read_attention(archive: Archive, layout: LooksLayout) -> Attention:
    """Return the attention of a trace file, its arrays read-only; large ones stay in the file.

    Raises
    ------
    BadTrace
        If the arrays are not those of `layout`, or hold what no attention gives.
    """
    found = {
        name.removeprefix("attention."): array
        for name, array in read_tensors(archive, MEMBER, layout.arrays()).items()
    }
    names = [layer["layer"] for layer in layout.layers]
    maps = [] if layout.maps is None else layout.maps
    statistics = ("entropy", "first_token_mass", "distance", "mass_by_label", "keys", "weights")
    made = Attention(
        layers=tuple(HeadLayout(**layer) for layer in layout.layers),
        heads=tuple(layout.heads),
        tokens=layout.tokens,
        bin_edges=np.asarray(layout.edges, dtype=np.int64),
        labels=tuple(layout.labels),
        bands={layer: found[f"map.{layer}"] for layer, _ in zip(names, maps, strict=False)},
        bins_before={layer: behind for layer, (behind, _) in zip(names, maps, strict=False)},
        per_query={name: found[name] for name in statistics if name in found},
        full_rows=_rows(layout, found["rows"]),
        towers=_towers(layout, found),
    )
    check_attention(made)
    return made


def _pieces(attention: Attention, name: str) -> Iterator[Array]:
    if name == "rows":
        yield from (row for _, (_, row) in sorted(attention.full_rows.items()))
    elif name.startswith("map."):
        yield from attention.bands[int(name.removeprefix("map."))]
    elif "." in name:
        tower, _, kind = name.partition(".")
        yield from (getattr(each, "pooled" if kind == "maps" else kind) for each in attention.towers[tower])
    else:
        yield from attention.per_query[name]


def _rows(layout: LooksLayout, flat: Array) -> dict[tuple[int, int], tuple[int, Array]]:
    heads, at, found = len(layout.heads), 0, {}
    for layer, query, first, count in layout.rows:
        found[layer, query] = first, flat[at : at + heads * count].reshape(heads, count)
        at += heads * count
    return found


def _towers(layout: LooksLayout, found: dict[str, Array]) -> dict[str, tuple[Tower, ...]]:
    towers = {}
    for name, several in layout.towers.items():
        made, at, row = [], 0, 0
        for positions, layers, heads, bins in several:
            size = layers * heads * bins * bins
            maps = found[f"{name}.maps"][at : at + size].reshape(layers, heads, bins, bins)
            made.append(Tower(maps, found[f"{name}.boxes"][row : row + bins], positions))
            at, row = at + size, row + bins
        towers[name] = tuple(made)
    return towers


def _sound(entry: dict[str, Any], tokens: int) -> bool:
    """Return whether a manifest's entry has the types and ranges of a layout."""
    layers, maps, labels, towers = (entry[name] for name in ("layers", "maps", "labels", "towers"))
    return (
        _numbers(entry["heads"], least=1)
        and _numbers(entry["edges"], least=2)
        and len(entry["edges"]) <= MOST_BINS + 1
        and isinstance(layers, list)
        and 0 < len(layers) <= 4096
        and all(_layer(layer) for layer in layers)
        and (maps is None or (_table(maps, 2) and len(maps) == len(layers)))
        and isinstance(labels, list)
        and all(isinstance(label, str) and len(label) < 64 for label in labels)
        and len(set(labels)) == len(labels)
        and entry["statistics"] in (None, "compact", "full")
        and type(entry["top_k"]) is int
        and 0 <= entry["top_k"] <= 64
        and _table(entry["rows"], 4)
        and all(query < tokens and first + count <= tokens for _, query, first, count in entry["rows"])
        and isinstance(towers, dict)
        and set(towers) <= set(_TOWERS)
        and all(_table(several, 4) for several in towers.values())
    )


def _layer(layer: Any) -> bool:
    if not isinstance(layer, dict) or set(layer) != _LAYOUT:
        return False
    whole = [layer[name] for name in ("layer", "heads", "kv_heads", "head_dim")]
    either = [layer[name] for name in ("window", "kv_shared_from") if layer[name] is not None]
    return (
        layer["kind"] in ("local", "global")
        and (layer["kind"] == "local") == (layer["window"] is not None)
        and type(layer["k_eq_v"]) is bool
        and _numbers([*whole, *either], least=1)
    )


def _numbers(values: Any, *, least: int) -> bool:
    return (
        isinstance(values, list)
        and len(values) >= least
        and all(type(value) is int and 0 <= value < _MOST for value in values)
    )


def _table(rows: Any, width: int) -> bool:
    return isinstance(rows, list) and all(_numbers(row, least=width) and len(row) == width for row in rows)

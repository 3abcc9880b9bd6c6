"""Recorded attention: pooled maps, per-query statistics, top keys and full attention rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from ...checks import members, whole_number
from ...display import Displayed
from ...errors import LabError, NotTraced
from .attention_bands import from_band

Array = np.ndarray[Any, np.dtype[Any]]

MAX_BINS = 256
MAX_TOP_KEYS = 64


@dataclass(frozen=True)
class AttentionRequest:
    """What to record of the attention; nothing else is computed.

    Attributes
    ----------
    layers, heads
        The model's own indices; None records all.
    rows
        Queries whose attention rows are recorded in full, as positions; negative ones count from the end of
        the prompt.
    top_k
        How many keys of largest weight to record per query and head, 0 to 64.
    bins
        Maximum number of bins of tokens per side of a pooled map, 1 to 256.
    pooled, statistics
        Whether to record pooled attention maps, and the statistics of every row.
    towers
        Whether to record the attention of the vision and audio towers as well.

    Raises
    ------
    LabError
        If a number is out of range.
    """

    layers: Sequence[int] | None = None
    heads: Sequence[int] | None = None
    rows: tuple[int, ...] = ()
    top_k: int = 8
    bins: int = 128
    pooled: bool = True
    statistics: bool = True
    towers: bool = False

    def __post_init__(self) -> None:
        def keep(name: str, value: Any) -> None:
            object.__setattr__(self, name, value)

        keep("bins", whole_number("bins", self.bins, minimum=1, maximum=MAX_BINS))
        keep("top_k", whole_number("top_k", self.top_k, minimum=0, maximum=MAX_TOP_KEYS))
        for name in ("layers", "heads"):
            chosen = getattr(self, name)
            if chosen is not None:
                chosen = members(name, chosen, example=f"{name}=[0]")
                keep(name, tuple(sorted({whole_number(name, one, minimum=0) for one in chosen})))
        rows = members("rows", self.rows, example="rows=[-1]")
        keep("rows", tuple(whole_number("rows", row, minimum=-(1 << 30)) for row in rows))


@dataclass(frozen=True)
class HeadLayout:
    """The attention heads of one layer.

    Attributes
    ----------
    layer
        The model's own index.
    kind
        ``"local"`` (sliding window) or ``"global"``.
    window
        How many tokens back a query of a local layer attends, its own included; None for global layers.
    heads, kv_heads
        Number of query heads and of key-value heads. Query head *h* uses ``h * kv_heads // heads``.
    head_dim
        Of queries and keys.
    kv_shared_from
        The layer whose keys and values this one reuses; None if it has its own.
    k_eq_v
        Whether keys and values come from one projection.
    """

    layer: int
    kind: Literal["local", "global"]
    window: int | None
    heads: int
    kv_heads: int
    head_dim: int
    kv_shared_from: int | None = None
    k_eq_v: bool = False


@dataclass(frozen=True, eq=False)
class Tower:
    """The attention of the vision or audio tower over one image, video frame or audio clip.

    Attributes
    ----------
    pooled
        float32 ``[layers, heads, bins, bins]``: mean, over the queries of a bin, of the attention to the keys
        of a bin; every row sums to 1.
    boxes
        int32 ``[bins, 4]``: x0, y0, x1, y1 of each bin in patches of an image; ``[bins, 2]``: first frame of
        a clip and the one after the last.
    positions
        Number of patches or audio frames.
    """

    pooled: Array = field(repr=False)
    boxes: Array = field(repr=False)
    positions: int


@dataclass(frozen=True, eq=False)
class Attention(Displayed):
    """The attention of a run for every requested layer and head, without any L×L tensor.

    `top_keys`, `row` and, in full precision, the statistics are exact; pooled maps are means over bins.
    L recorded layers, T tokens, H recorded heads. Arrays may be memory maps of a file. Made by `Lab.trace`,
    or read from a trace file.

    Attributes
    ----------
    layers
        The heads of each recorded layer.
    heads
        The recorded query heads, in the order of the axis H.
    tokens
        T, as in the trace's token table.
    bin_edges
        int64 ``[bins + 1]``: where the bins of queries and of keys begin and end.
    labels
        The labels that `mass_by_label` distinguishes.
    bands
        Pooled maps by layer, float32 ``[H, bins, S]``; see `band`.
    bins_before
        By layer: how many bins before its own a bin of queries attends to.
    per_query
        One entry per query, ``[L, T, …]``: ``entropy``, ``first_token_mass``, ``distance`` ``[L, T, H]``,
        ``mass_by_label`` ``[L, T, labels, H]``, ``keys`` and ``weights`` ``[L, T, H, k]``. What was not
        requested is absent.
    full_rows
        By layer and query: the first key, and float32 ``[H, keys]`` from that key on.
    towers
        ``"vision"`` and ``"audio"``: one `Tower` per image, frame or clip.
    """

    layers: tuple[HeadLayout, ...]
    heads: tuple[int, ...]
    tokens: int
    bin_edges: Array = field(repr=False)
    labels: tuple[str, ...] = ()
    bands: Mapping[int, Array] = field(default_factory=dict, repr=False)
    bins_before: Mapping[int, int] = field(default_factory=dict, repr=False)
    per_query: Mapping[str, Array] = field(default_factory=dict, repr=False)
    full_rows: Mapping[tuple[int, int], tuple[int, Array]] = field(default_factory=dict, repr=False)
    towers: Mapping[str, tuple[Tower, ...]] = field(default_factory=dict, repr=False)
    keepalive: Any = field(default=None, repr=False)  # the temporary directory of memory-mapped arrays

    def __len__(self) -> int:
        """Return the number of tokens."""
        return self.tokens

    @property
    def bins(self) -> int:
        """Number of bins per side of a pooled map."""
        return len(self.bin_edges) - 1

    @property
    def top_k(self) -> int:
        """Number of keys recorded per query and head."""
        return int(self.per_query["keys"].shape[-1]) if "keys" in self.per_query else 0

    @property
    def rows(self) -> tuple[int, ...]:
        """The queries whose attention rows were recorded in full."""
        return tuple(sorted({query for _, query in self.full_rows}))

    @property
    def kv_shared_layers(self) -> dict[int, int]:
        """Layers that reuse the keys and values of another layer, and that layer."""
        shared = ((layout.layer, layout.kv_shared_from) for layout in self.layers)
        return {layer: source for layer, source in shared if source is not None}

    @property
    def nbytes(self) -> int:
        """Bytes of all arrays."""
        towers = [tower.pooled for several in self.towers.values() for tower in several]
        rows = [row for _, row in self.full_rows.values()]
        arrays = [*self.bands.values(), *self.per_query.values(), *rows, *towers, self.bin_edges]
        return int(sum(array.nbytes for array in arrays))

    def layout(self, layer: int) -> HeadLayout:
        """Return the heads of one layer.

        Raises
        ------
        NotTraced
            If the layer was not recorded.
        """
        return self.layers[self._index(layer)]

    def pooled(self, layer: int, head: int | None = None) -> Array:
        """Return the pooled attention maps of a layer, float32 ``[H, bins, bins]``, or one head's map.

        Entry ``[i, j]`` is the mean, over the queries of bin *i*, of the attention to all keys of bin *j*: a
        row sums to 1.
        """
        band = self.band(layer)
        if head is not None:
            band = band[self._head(head)][None]
        maps = from_band(band, before=self.bins_before[layer])
        return maps if head is None else maps[0]

    def band(self, layer: int) -> Array:
        """Return the pooled maps of a layer as stored, ``[H, bins, S]``: only the bins of keys in reach.

        Column *s* of row *i* is the bin of keys ``i - before + s``, with `band_extent` giving ``before``.
        """
        self._index(layer)
        if layer not in self.bands:
            raise _not_recorded("Pooled maps", "pooled=True")
        return self.bands[layer]

    def band_extent(self, layer: int) -> tuple[int, int]:
        """Return how many bins before and after its own a bin of queries of this layer attends to."""
        before = self.bins_before.get(layer, 0)
        return before, self.band(layer).shape[-1] - 1 - before

    def entropy(self, layer: int) -> Array:
        """Return the entropy of every attention row in nats, float32 ``[H, T]``."""
        return self._statistic("entropy", layer)

    def first_token_mass(self, layer: int) -> Array:
        """Return the attention of every row to the first token, float32 ``[H, T]``."""
        return self._statistic("first_token_mass", layer)

    def distance(self, layer: int) -> Array:
        """Return the mean distance in tokens of every row to its keys, weighted by attention, ``[H, T]``.

        Keys after the query (inside an image) count with their distance as well.
        """
        return self._statistic("distance", layer)

    def mass_by_label(self, layer: int) -> dict[str, Array]:
        """Return the attention of every row to the tokens of each label, label → float32 ``[H, T]``.

        ``"modality:…"`` labels sum to 1, and so do ``"role:…"`` labels; ``"role:none"`` is outside any turn.
        Labels without tokens are left out. The role of a generated token is what was known when the row was
        computed.
        """
        index, stored = self._index(layer), self._stored("mass_by_label", "statistics=True")
        values = np.asarray(stored[index], dtype=np.float32)
        return {label: values[:, column].T for column, label in enumerate(self.labels)}

    def top_keys(self, layer: int) -> tuple[Array, Array]:
        """Return the keys of largest weight of every row, and their weights.

        Returns
        -------
        keys
            int32 ``[H, T, k]``, the largest weight first; −1 where a row has fewer keys.
        weights
            float32 ``[H, T, k]``.
        """
        index = self._index(layer)
        keys, weights = self._stored("keys", "top_k=8"), self._stored("weights", "top_k=8")
        return np.asarray(keys[index]).swapaxes(0, 1), np.asarray(weights[index]).swapaxes(0, 1)

    def row(self, layer: int, query: int) -> Array:
        """Return one query's attention to every key, exactly: float32 ``[H, keys]``.

        ``keys`` is ``query + 1``; for a query inside an image or video frame that attends in both directions,
        up to the last key it sees.

        Raises
        ------
        NotTraced
            If that row was not recorded.
        LabError
            If the trace has no such token.
        """
        self._index(layer)
        if not 0 <= query < self.tokens:
            raise LabError(
                f"Query {query:,} is not a token of this trace, which has {self.tokens:,}.",
                hint=f"Queries are 0 to {self.tokens - 1:,}; recorded are {list(self.rows)[:20]}.",
            )
        if (layer, query) not in self.full_rows:
            raise NotTraced(
                f"The attention row of query {query:,} in layer {layer} was not recorded.",
                hint=f"Recorded are {list(self.rows)[:20]}. Trace with AttentionRequest(rows=({query},)), "
                f"or compute it with lab.attention_rows(trace, [{query}]).",
            )
        first, part = self.full_rows[layer, query]
        row = np.zeros((part.shape[0], max(query + 1, first + part.shape[1])), dtype=np.float32)
        row[:, first : first + part.shape[1]] = part
        return row

    def equal(self, other: object) -> bool:
        """Return whether two records hold the same values."""
        if not isinstance(other, Attention):
            return False
        plain = ("layers", "heads", "tokens", "labels")
        if any(getattr(self, name) != getattr(other, name) for name in plain):
            return False
        mine, theirs = _all_arrays(self), _all_arrays(other)
        return mine.keys() == theirs.keys() and all(np.array_equal(mine[n], theirs[n]) for n in mine)

    def __repr__(self) -> str:
        parts = [f"{len(self.layers)} layer{'s' * (len(self.layers) != 1)} × {len(self.heads)} heads"]
        parts += [f"{self.tokens:,} tokens"]
        parts += [f"{self.bins} bins"] if self.bands else []
        parts += [f"top {self.top_k}"] if self.top_k else []
        parts += [f"{len(self.rows)} row{'s' * (len(self.rows) != 1)}"] if self.full_rows else []
        parts += [f"{len(several)} {tower}" for tower, several in sorted(self.towers.items())]
        return f"Attention({', '.join(parts)})"

    def _index(self, layer: int) -> int:
        layers = [layout.layer for layout in self.layers]
        if layer not in layers:
            raise NotTraced(
                f"The attention of layer {layer} was not recorded.",
                hint=f"Recorded are the layers {layers}; AttentionRequest(layers=…) chooses them.",
            )
        return layers.index(layer)

    def _head(self, head: int) -> int:
        if head not in self.heads:
            raise NotTraced(
                f"The attention of head {head} was not recorded.",
                hint=f"Recorded are the heads {list(self.heads)}; AttentionRequest(heads=…) chooses them.",
            )
        return self.heads.index(head)

    def _stored(self, name: str, option: str) -> Array:
        if name not in self.per_query:
            raise _not_recorded("Statistics" if name not in ("keys", "weights") else "Top keys", option)
        return self.per_query[name]

    def _statistic(self, name: str, layer: int) -> Array:
        return np.asarray(self._stored(name, "statistics=True")[self._index(layer)], dtype=np.float32).T


def _not_recorded(what: str, option: str) -> NotTraced:
    return NotTraced(f"{what} were not recorded.", hint=f"Trace with attention=AttentionRequest({option}).")


def _all_arrays(attention: Attention) -> dict[str, Array]:
    found = {"edges": attention.bin_edges, **attention.per_query}
    found |= {f"band {layer}": band for layer, band in attention.bands.items()}
    found |= {f"before {layer}": np.int64(n).reshape(1) for layer, n in attention.bins_before.items()}
    for (layer, query), (first, row) in attention.full_rows.items():
        found |= {f"row {layer} {query}": row, f"first {layer} {query}": np.int64(first).reshape(1)}
    for name, several in attention.towers.items():
        for number, tower in enumerate(several):
            found |= {f"{name} {number}": tower.pooled, f"{name} boxes {number}": tower.boxes}
    return found

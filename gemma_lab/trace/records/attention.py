"""Where every head looked: pooled maps, statistics of every row, the keys looked at most, and asked rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from ...errors import LabError, NotTraced
from .attention_bands import from_band

Array = np.ndarray[Any, np.dtype[Any]]

MOST_BINS = 256


@dataclass(frozen=True)
class AttentionRequest:
    """What of the attention is to be kept; nothing else is computed.

    Attributes
    ----------
    layers, heads
        Which; None keeps all. Numbers are the model's own.
    rows
        Queries whose rows are kept exactly, as positions; negative ones count from the end of the prompt.
    top_k
        How many keys to keep of every row, those it looks at most; 0 keeps none.
    bins
        Bins of tokens that a map has at most, 1 to 256.
    pooled, statistics
        Whether to record pooled attention maps and the statistics of every row.
    towers
        Whether to keep what the vision tower and the audio tower look at, too.

    Raises
    ------
    LabError
        On making one, if a number is out of range.
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
        if not 1 <= self.bins <= MOST_BINS:
            raise LabError(f"bins={self.bins} is not 1 to {MOST_BINS}.", hint="128 suit most screens.")
        if not 0 <= self.top_k <= 64:
            raise LabError(f"top_k={self.top_k} is not 0 to 64.", hint="rows=(…) keeps whole rows.")
        for name in ("layers", "heads"):
            chosen = getattr(self, name)
            if chosen is not None:
                object.__setattr__(self, name, tuple(sorted({int(number) for number in chosen})))
        object.__setattr__(self, "rows", tuple(int(row) for row in self.rows))


@dataclass(frozen=True)
class HeadLayout:
    """How the heads of one layer are laid out.

    Attributes
    ----------
    layer
        The model's own index.
    kind
        ``"local"`` (a sliding window) or ``"global"``.
    window
        How many tokens, its own included, a query of a local layer reaches back; None for global ones.
    heads, kv_heads
        How many query heads and key-value heads it has: query head *h* uses ``h * kv_heads // heads``.
    head_dim
        Of queries and keys.
    kv_shared_from
        The layer whose keys and values it reuses (KV sharing); None if it has its own.
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
    """What one picture, frame or clip looked like to the attention of a tower.

    Attributes
    ----------
    pooled
        float32 ``[layers, heads, bins, bins]``: mean over the queries of a bin of the attention to the keys
        of a bin; every row sums to 1.
    boxes
        int32 ``[bins, 4]``: x0, y0, x1, y1 of each bin in patches of a picture; ``[bins, 2]``: first frame
        and the one after the last of a clip.
    positions
        How many patches or frames it had.
    """

    pooled: Array = field(repr=False)
    boxes: Array = field(repr=False)
    positions: int


@dataclass(frozen=True, eq=False)
class Attention:
    """The attention of a run, for every layer and head that was asked for, without any L×L tensor.

    Exact are `top_keys`, `row` and, in full precision, the statistics; maps are means over bins. Arrays may be
    memory maps of a file. Made by `Lab.trace` and read from a trace file.

    Attributes
    ----------
    layers
        The layout of each captured layer.
    heads
        The captured query heads; ``[H, …]`` below follows them.
    tokens
        How many rows, the same as in the trace's token table.
    bin_edges
        int64 ``[bins + 1]``: where the bins of queries and of keys begin and end.
    labels
        What `mass_by_label` distinguishes.
    bands
        By layer: float32 ``[H, bins, S]``, see `band`.
    bins_before
        By layer: how many bins a bin of queries reaches back in its band.
    per_query
        What is stored of every row, ``[L, T, …]``: ``entropy``, ``first_token_mass``, ``distance`` ``[L, T, H]``,
        ``mass_by_label`` ``[L, T, labels, H]``, ``keys`` and ``weights`` ``[L, T, H, k]``. What was not asked for is
        not there.
    full_rows
        By layer and query: the first key, and float32 ``[H, keys]`` from there on.
    towers
        ``"vision"`` and ``"audio"``, one `Tower` a picture, frame or clip.
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
    keepalive: Any = field(default=None, repr=False)  # holds the temporary file that memmaps lie in

    def __len__(self) -> int:
        """Return the number of tokens."""
        return self.tokens

    @property
    def bins(self) -> int:
        """How many bins the maps have."""
        return len(self.bin_edges) - 1

    @property
    def top_k(self) -> int:
        """How many keys of every row were kept."""
        return int(self.per_query["keys"].shape[-1]) if "keys" in self.per_query else 0

    @property
    def rows(self) -> tuple[int, ...]:
        """The queries whose rows were kept whole."""
        return tuple(sorted({query for _, query in self.full_rows}))

    @property
    def kv_shared_layers(self) -> dict[int, int]:
        """The layers that reuse another's keys and values, and whose: layer → donor."""
        return {
            layout.layer: layout.kv_shared_from for layout in self.layers if layout.kv_shared_from is not None
        }

    @property
    def nbytes(self) -> int:
        """Bytes of all arrays."""
        towers = [tower.pooled for several in self.towers.values() for tower in several]
        kept = [row for _, row in self.full_rows.values()]
        arrays = [*self.bands.values(), *self.per_query.values(), *kept, *towers, self.bin_edges]
        return int(sum(array.nbytes for array in arrays))

    def layout(self, layer: int) -> HeadLayout:
        """Return the layout of one layer.

        Raises
        ------
        LabError
            If it was not captured.
        """
        return self.layers[self._at(layer)]

    def pooled(self, layer: int, head: int | None = None) -> Array:
        """Return the pooled attention maps of a layer, float32 ``[H, bins, bins]``, or one head's map.

        Entry ``[i, j]`` is the mean, over the queries of bin *i*, of the attention to all keys of bin *j*: a
        row sums to 1.
        """
        band = self._band(layer)
        if head is not None:
            band = band[self._head(head)][None]
        maps = from_band(band, before=self.bins_before[layer])
        return maps if head is None else maps[0]

    def band(self, layer: int) -> Array:
        """Return the maps of a layer as they are stored, ``[H, bins, S]``: reachable bins of keys alone.

        Column *s* of row *i* is the bin of keys ``i - band_extent(layer)[0] + s``. Where a layer sees nothing ahead
        of a query's own bin (all but those with bidirectional pictures), that is ``i - (S - 1) + s``.
        """
        return self._band(layer)

    def band_extent(self, layer: int) -> tuple[int, int]:
        """Return how many bins before and after its own a bin of queries of this layer reaches."""
        behind = self.bins_before.get(layer, 0)
        return behind, self._band(layer).shape[-1] - 1 - behind

    def entropy(self, layer: int) -> Array:
        """Return the entropy of every row in nats, float32 ``[H, T]``."""
        return self._statistic("entropy", layer)

    def first_token_mass(self, layer: int) -> Array:
        """Return the attention of every row to the first token, float32 ``[H, T]``."""
        return self._statistic("first_token_mass", layer)

    def distance(self, layer: int) -> Array:
        """Return the mean distance of every row to its keys in tokens, float32 ``[H, T]``.

        Keys ahead of a query (inside a picture) count with their distance, too.
        """
        return self._statistic("distance", layer)

    def mass_by_label(self, layer: int) -> dict[str, Array]:
        """Return the attention of every row by what it falls on, label → float32 ``[H, T]``.

        ``"modality:…"`` labels sum to 1, and so do ``"role:…"`` labels; ``"role:none"`` is outside any turn.
        Labels that no token has are left out. Of tokens that the model wrote, the role is what it was known
        to be when the row was computed.
        """
        at, stored = self._at(layer), self._stored("mass_by_label", "statistics=True")
        found = np.asarray(stored[at], dtype=np.float32)
        return {label: found[:, column].T for column, label in enumerate(self.labels)}

    def top_keys(self, layer: int) -> tuple[Array, Array]:
        """Return the keys that each row looks at most, and how much.

        Returns
        -------
        keys
            int32 ``[H, T, k]``, the largest weight first; −1 where a row has fewer keys.
        weights
            float32 ``[H, T, k]``.
        """
        at = self._at(layer)
        keys, weights = self._stored("keys", "top_k=8"), self._stored("weights", "top_k=8")
        return np.asarray(keys[at]).swapaxes(0, 1), np.asarray(weights[at]).swapaxes(0, 1)

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
        self._at(layer)
        if not 0 <= query < self.tokens:
            raise LabError(
                f"Query {query:,} is not a token of this trace, which has {self.tokens:,}.",
                hint=f"Queries are positions from 0 to {self.tokens - 1:,}; recorded are {list(self.rows)[:20]}.",
            )
        found = self.full_rows.get((layer, query))
        if found is None:
            raise NotTraced(
                f"The attention row of query {query:,} in layer {layer} was not recorded.",
                hint=f"Recorded are {list(self.rows)[:20]}. Trace with AttentionRequest(rows=({query},)), "
                f"or compute it with lab.attention_rows(trace, [{query}]).",
            )
        first, part = found
        row = np.zeros((part.shape[0], max(query + 1, first + part.shape[1])), dtype=np.float32)
        row[:, first : first + part.shape[1]] = part
        return row

    def equal(self, other: object) -> bool:
        """Return whether two captures say the same."""
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

    def _at(self, layer: int) -> int:
        for at, layout in enumerate(self.layers):
            if layout.layer == layer:
                return at
        have = ", ".join(str(layout.layer) for layout in self.layers)
        raise NotTraced(
            f"The attention of layer {layer} was not recorded.",
            hint=f"Recorded are the layers {have}; AttentionRequest(layers=…) chooses them.",
        )

    def _head(self, head: int) -> int:
        if head not in self.heads:
            raise NotTraced(
                f"The attention of head {head} was not recorded.",
                hint=f"Recorded are the heads {list(self.heads)}; AttentionRequest(heads=…) chooses them.",
            )
        return self.heads.index(head)

    def _band(self, layer: int) -> Array:
        self._at(layer)
        if layer not in self.bands:
            raise _not_recorded("Pooled maps", "pooled=True")
        return self.bands[layer]

    def _stored(self, name: str, option: str) -> Array:
        if name not in self.per_query:
            raise _not_recorded("Statistics" if name not in ("keys", "weights") else "Top keys", option)
        return self.per_query[name]

    def _statistic(self, name: str, layer: int) -> Array:
        return np.asarray(self._stored(name, "statistics=True")[self._at(layer)], dtype=np.float32).T


def _not_recorded(what: str, option: str) -> NotTraced:
    return NotTraced(f"{what} were not recorded.", hint=f"Trace with attention=AttentionRequest({option}).")


def _all_arrays(attention: Attention) -> dict[str, Array]:
    found = {"edges": attention.bin_edges, **attention.per_query}
    found |= {f"band {layer}": band for layer, band in attention.bands.items()}
    found |= {f"behind {layer}": np.int64(b).reshape(1) for layer, b in attention.bins_before.items()}
    for (layer, query), (first, row) in attention.full_rows.items():
        found |= {f"row {layer} {query}": row, f"first {layer} {query}": np.int64(first).reshape(1)}
    for name, several in attention.towers.items():
        for number, tower in enumerate(several):
            found |= {f"{name} {number}": tower.pooled, f"{name} boxes {number}": tower.boxes}
    return found

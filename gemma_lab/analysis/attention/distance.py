"""Distance of the attention patterns of two runs over the same tokens, head by head."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from ...checks import type_name
from ...display import Displayed
from ...errors import LabError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ...trace.records.attention import Attention

    Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class AttentionDistance(Displayed):
    """Total variation distance of attention rows; L layers, H heads, Q queries.

    The distance is half the sum of the absolute differences of two rows: the fraction of a head's attention
    that is on other keys, 0 to 1.

    Attributes
    ----------
    layers
        The layers; a layer with fewer heads than H has NaN for the others.
    distance
        Between the same head of both runs, ``[L, H, Q]``.
    between_heads
        Between different heads of the same layer in the first run, mean over the queries and the pairs of
        heads, ``[L]``: what a large distance is in this layer. NaN for a layer with one head.
    """

    layers: tuple[int, ...]
    distance: Floats = field(repr=False)
    between_heads: Floats = field(repr=False)

    @property
    def by_head(self) -> Floats:
        """Mean of `distance` over the queries, ``[L, H]``."""
        return np.asarray(self.distance.mean(axis=2))

    @property
    def by_layer(self) -> Floats:
        """Mean of `distance` over queries and heads, ``[L]``."""
        return np.asarray(np.nanmean(self.distance, axis=(1, 2)))

    @property
    def mean(self) -> float:
        """Mean over all layers, heads and queries."""
        return float(np.nanmean(self.distance))

    @property
    def most_moved(self) -> tuple[int, int]:
        """Layer and head with the largest mean distance."""
        index, head = np.unravel_index(int(np.nanargmax(self.by_head)), self.by_head.shape)
        return self.layers[int(index)], int(head)

    def to_pandas(self) -> Any:
        """Return one row per head: layer, head, distance, between_heads."""
        import pandas as pd

        by_head = self.by_head
        rows = [
            (layer, head, by_head[index, head], self.between_heads[index])
            for index, layer in enumerate(self.layers)
            for head in range(by_head.shape[1])
            if np.isfinite(by_head[index, head])
        ]
        return pd.DataFrame(rows, columns=["layer", "head", "distance", "between_heads"])

    def __repr__(self) -> str:
        layers, heads, queries = self.distance.shape
        layer, head = self.most_moved
        most = float(np.nanmax(self.by_head))
        return (
            f"AttentionDistance({layers} layers × {heads} heads, {queries:,} queries: {self.mean:.1%} of "
            f"attention moved, most in layer {layer} head {head} ({most:.1%}))"
        )


def attention_distance(
    first: Attention | Sequence[Attention], second: Attention | Sequence[Attention]
) -> AttentionDistance:
    """Compare the recorded attention rows of two runs over the same tokens.

    Parameters
    ----------
    first, second
        The attention of each run, or of several runs in the same order, with the same rows recorded
        (``AttentionRequest(rows=…)``).

    Returns
    -------
    AttentionDistance

    Raises
    ------
    LabError
        If layers, heads, rows or the lengths of rows differ, or no rows were recorded.

    Examples
    --------
    >>> request = gl.AttentionRequest(rows=(-1,))
    >>> plain, edited = (lab.trace("Hello", attention=request, edit=edit) for edit in (None, some_edit))
    >>> gl.analysis.attention_distance(plain.attention, edited.attention)
    """
    one, two = _listed(first), _listed(second)
    _check(one, two)
    layers = tuple(layout.layer for layout in one[0].layers)
    width = max(_heads(one[0], layer) for layer in layers)
    distances, between = [], []
    for layer in layers:
        pairs = [
            (left.row(layer, query).astype(float), right.row(layer, query).astype(float))
            for left, right in zip(one, two, strict=True)
            for query in left.rows
        ]
        if any(a.shape != b.shape for a, b in pairs):
            raise LabError(
                f"The rows of layer {layer} are of different heads or lengths in the two runs.",
                hint="Compare runs of one architecture over the same tokens.",
            )
        column = np.full((width, len(pairs)), np.nan)
        for place, (a, b) in enumerate(pairs):
            column[: len(a), place] = np.minimum(np.abs(a - b).sum(axis=1) / 2, 1.0)
        distances.append(column)
        between.append(np.mean([_between(a) for a, _ in pairs]))
    return AttentionDistance(layers, np.stack(distances), np.asarray(between))


def _between(row: Floats) -> float:
    """Return the mean distance of two different heads, from one row ``[H, keys]``."""
    if len(row) < 2:
        return float("nan")
    apart = [np.abs(row[head] - row[head + 1 :]).sum(axis=1) / 2 for head in range(len(row) - 1)]
    return float(np.concatenate(apart).mean())


def _heads(attention: Attention, layer: int) -> int:
    return len(attention.row(layer, attention.rows[0]))


def _listed(attention: Attention | Sequence[Attention]) -> list[Attention]:
    return list(attention) if isinstance(attention, Sequence) else [attention]


def _check(one: list[Attention], two: list[Attention]) -> None:
    from ...trace.records.attention import Attention

    for each in [*one, *two]:
        if not isinstance(each, Attention):
            raise LabError(
                f"attention_distance takes attention records, not {type_name(each)}.",
                hint="trace.attention is one if the trace was made with attention=gl.AttentionRequest(…).",
            )
    if not one or len(one) != len(two) or not all(each.rows for each in one):
        raise LabError(
            "There are no attention rows to compare.",
            hint="Trace with attention=gl.AttentionRequest(rows=(…)).",
        )
    for left, right in zip(one, two, strict=True):
        layers = [[layout.layer for layout in each.layers] for each in (left, right)]
        if left.rows != right.rows or layers[0] != layers[1] or left.heads != right.heads:
            raise LabError(
                "The two runs have other rows, layers or heads.",
                hint="Record the same rows in models of one architecture.",
            )

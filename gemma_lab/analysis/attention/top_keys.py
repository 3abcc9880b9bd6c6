"""Top keys of selected queries for all heads at once: the input of the head analyses."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ...errors import LabError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ...trace.records.attention import Attention
    from ...trace.trace import Trace

    Floats = NDArray[np.float64]

#: Queries of a test, at most; of more, evenly spaced ones.
MAX_QUERIES = 1024


@dataclass(frozen=True, eq=False)
class TopKeys:
    """Top keys of some queries for every head.

    Attributes
    ----------
    heads
        Layer and head of each row of the arrays.
    queries
        Rows of the token table, int64 ``[queries]``.
    keys
        int64 ``[heads, queries, k]``; −1 where fewer are visible.
    weights
        float64 ``[heads, queries, k]``. Keys that are not among the top k count as 0, so sums are lower
        bounds.
    windows
        Window of each head in tokens, the query included, int64 ``[heads]``; all tokens for global layers.
    """

    heads: tuple[tuple[int, int], ...]
    queries: NDArray[np.int64]
    keys: NDArray[np.int64]
    weights: Floats
    windows: NDArray[np.int64]

    def mean_attention(self, selected: NDArray[np.bool]) -> Floats:
        """Return the mean attention of each head to the selected keys.

        Parameters
        ----------
        selected
            bool ``[heads or 1, queries, k]``.
        """
        return np.asarray((self.weights * (selected & (self.keys >= 0))).sum(axis=2).mean(axis=1))

    @property
    def visible(self) -> NDArray[np.int64]:
        """Number of keys each query sees, ``[heads, queries]``: its own and those before it in the window."""
        return np.asarray(np.minimum(self.queries[None] + 1, self.windows[:, None]))


def require_attention(trace: Trace) -> Attention:
    """Return the attention of a trace.

    Raises
    ------
    LabError
        If it was not recorded.
    """
    if trace.attention is None:
        raise LabError("This trace has no attention.", hint="Record it: lab.trace(…, attention=True).")
    return trace.attention


def recorded_heads(attention: Attention) -> tuple[tuple[int, int], ...]:
    """Return layer and head of every recorded head."""
    return tuple((layout.layer, head) for layout in attention.layers for head in attention.heads)


def head_windows(attention: Attention) -> NDArray[np.int64]:
    """Return the window of each head in tokens, the query included; without a window, all tokens."""
    return np.asarray(
        [
            len(attention) if layout.window is None else layout.window
            for layout in attention.layers
            for _ in attention.heads
        ]
    )


def evenly_spaced(queries: NDArray[Any], limit: int = MAX_QUERIES) -> NDArray[np.int64]:
    """Return at most `limit` of some queries, evenly spaced."""
    listed = np.asarray(queries, dtype=np.int64)
    if len(listed) <= limit:
        return listed
    return listed[np.linspace(0, len(listed) - 1, limit).round().astype(np.int64)]


def top_keys(attention: Attention, queries: NDArray[Any]) -> TopKeys:
    """Return the top keys of some queries for every head.

    Parameters
    ----------
    attention
        Of a trace, with top keys.
    queries
        Rows of the token table.

    Raises
    ------
    LabError
        If the top keys were not recorded.
    """
    chosen = np.asarray(queries, dtype=np.int64)
    keys, weights = [], []
    for layout in attention.layers:
        layer_keys, layer_weights = attention.top_keys(layout.layer)
        keys.append(layer_keys[:, chosen])
        weights.append(layer_weights[:, chosen])
    return TopKeys(
        heads=recorded_heads(attention),
        queries=chosen,
        keys=np.concatenate(keys).astype(np.int64),
        weights=np.concatenate(weights).astype(np.float64),
        windows=head_windows(attention),
    )

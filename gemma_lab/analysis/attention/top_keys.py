"""The keys that chosen queries look at most, of every head at once: what the analyses of heads read."""

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

#: Queries that a test looks at, at most; more are evenly_spaced out evenly.
MAX_QUERIES = 1024


@dataclass(frozen=True, eq=False)
class TopKeys:
    """What every head looks at most from some queries.

    Attributes
    ----------
    heads
        Layer and head, one a row of the arrays.
    queries
        Rows of the token table, int64 ``[queries]``.
    keys
        int64 ``[heads, queries, k]``; −1 where a query sees fewer.
    weights
        float64 ``[heads, queries, k]``. Keys that are not among the k count as not looked at at all: sums
        over them are lower bounds.
    windows
        How far back each head sees, its own place included, int64 ``[heads]``; all of the text for heads of
        global layers.
    """

    heads: tuple[tuple[int, int], ...]
    queries: NDArray[np.int64]
    keys: NDArray[np.int64]
    weights: Floats
    windows: NDArray[np.int64]

    def mean_attention(self, hit: NDArray[np.bool_]) -> Floats:
        """Return the mean attention of each head to the keys that are hit.

        Parameters
        ----------
        hit
            ``[heads or 1, queries, k]``.
        """
        return np.asarray((self.weights * (hit & (self.keys >= 0))).sum(axis=2).mean(axis=1))

    @property
    def visible(self) -> NDArray[np.int64]:
        """How many keys each query sees, ``[heads, queries]``: its own and all before it in the window."""
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
    """Return layer and head of every head that was recorded."""
    return tuple((layout.layer, head) for layout in attention.layers for head in attention.heads)


def head_windows(attention: Attention) -> NDArray[np.int64]:
    """Return how many tokens each head sees, its own included; all of the text without a window."""
    return np.asarray(
        [
            len(attention) if layout.window is None else layout.window
            for layout in attention.layers
            for _ in attention.heads
        ]
    )


def evenly_spaced(queries: NDArray[Any], most: int = MAX_QUERIES) -> NDArray[np.int64]:
    """Return at most `most` of some queries, spread evenly."""
    listed = np.asarray(queries, dtype=np.int64)
    if len(listed) <= most:
        return listed
    return listed[np.linspace(0, len(listed) - 1, most).round().astype(np.int64)]


def top_keys(attention: Attention, queries: NDArray[Any]) -> TopKeys:
    """Return what every head looks at most from some queries.

    Parameters
    ----------
    attention
        Of a trace, with its top keys.
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
        found, much = attention.top_keys(layout.layer)
        keys.append(found[:, chosen])
        weights.append(much[:, chosen])
    return TopKeys(
        heads=recorded_heads(attention),
        queries=chosen,
        keys=np.concatenate(keys).astype(np.int64),
        weights=np.concatenate(weights).astype(np.float64),
        windows=head_windows(attention),
    )

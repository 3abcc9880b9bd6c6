"""Attention sinks: tokens that draw attention whatever they say."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ...display import Displayed
from ...errors import LabError
from .top_keys import recorded_heads, require_attention

if TYPE_CHECKING:
    from ...trace.records.attention import Attention
    from ...trace.trace import Trace
    from .top_keys import Floats

#: Mean attention from which on a token is a sink of a head (ε of Gu et al. 2024, arXiv:2410.10781).
SINK_THRESHOLD = 0.3
#: Queries that must see a token before anything is said of it, and part of those that see most.
_MIN_QUERIES, _MIN_FRACTION = 16, 0.25


@dataclass(frozen=True, eq=False)
class AttentionSinks(Displayed):
    """The sinks of a text.

    Attributes
    ----------
    heads
        Layer and head, one a row of the arrays.
    tokens
        Rows of the token table that are a sink of at least one head, ascending.
    pieces
        What they are, as the vocabulary writes them.
    received
        Mean attention that each gets from the queries that see it, float64 ``[heads, tokens]``.
    first
        Mean attention to the first token, of the queries that see it, ``[heads]``.
    length
        How many tokens the text has.
    """

    heads: tuple[tuple[int, int], ...]
    tokens: tuple[int, ...]
    pieces: tuple[str, ...]
    received: Floats
    first: Floats
    length: int

    @property
    def share(self) -> Floats:
        """For what part of the heads each token is a sink, ``[tokens]``."""
        return np.asarray((self.received >= SINK_THRESHOLD).mean(axis=0))

    @property
    def heads_with_sink(self) -> float:
        """Part of the heads that have a sink: their maps show little else."""
        return float((self.received >= SINK_THRESHOLD).any(axis=1).mean()) if self.tokens else 0.0

    def to_pandas(self) -> Any:
        """Return one row a head and sink: layer, head, token, piece, received."""
        import pandas as pd

        rows = [
            (*head, token, piece, self.received[row, column])
            for row, head in enumerate(self.heads)
            for column, (token, piece) in enumerate(zip(self.tokens, self.pieces, strict=True))
        ]
        return pd.DataFrame(rows, columns=["layer", "head", "token", "piece", "received"])

    def __repr__(self) -> str:
        return (
            f"AttentionSinks({len(self.tokens)} of {self.length:,} tokens, of {self.heads_with_sink:.0%} of {len(self.heads)} "
            f"heads; first token {self.first.mean():.2f} on average)"
        )


def attention_sinks(trace: Trace) -> AttentionSinks:
    r"""Find the tokens that draw attention from everywhere.

    Of head h, token k receives :math:`\alpha_k = \frac{1}{n} \sum_q A_{q,k}`, the mean over the n queries
    after it that see it; it is a sink from 0.3 on (Gu et al. 2024, arXiv:2410.10781, §2, whose mean takes in
    the token's own look at itself and is of the first tokens; here at least 16 queries, and a quarter of
    those that see the first, must see it; the first tokens as sinks: Xiao et al. 2023, arXiv:2309.17453).

    Parameters
    ----------
    trace
        With attention (top keys; a key that is not among them counts as not looked at).

    Raises
    ------
    LabError
        If there is no attention, or fewer than 17 tokens.
    """
    attention = require_attention(trace)
    length = len(attention)
    if length <= _MIN_QUERIES:
        raise LabError(
            f"{length} tokens are too few to find sinks: {_MIN_QUERIES + 1} at least.",
            hint="Trace a longer prompt.",
        )
    every = np.concatenate([_received(attention, layout.layer) for layout in attention.layers])
    tokens = np.flatnonzero((every >= SINK_THRESHOLD).any(axis=0))
    return AttentionSinks(
        heads=recorded_heads(attention),
        tokens=tuple(tokens.tolist()),
        pieces=tuple(str(piece) for piece in trace.tokens.pieces[tokens]),
        received=every[:, tokens],
        first=every[:, 0],
        length=length,
    )


def _received(attention: Attention, layer: int) -> Floats:
    """Return the mean attention that each token gets, ``[heads, tokens]``; 0 where too few queries see it."""
    keys, weights = attention.top_keys(layer)
    length, window = len(attention), attention.layout(layer).window
    later = keys < np.arange(length)[None, :, None]
    counted = np.where(later & (keys >= 0), weights, 0).astype(np.float64)
    found = np.stack(
        [
            np.bincount(np.maximum(keys[head], 0).ravel(), counted[head].ravel(), minlength=length)
            for head in range(len(keys))
        ]
    )
    seen = length - 1 - np.arange(length)
    seen = seen if window is None else np.minimum(seen, window - 1)
    least = max(_MIN_QUERIES, _MIN_FRACTION * seen.max())
    return np.where(seen >= least, found / np.maximum(seen, 1), 0.0)

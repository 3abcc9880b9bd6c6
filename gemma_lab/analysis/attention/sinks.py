"""Attention sinks: tokens that receive much attention regardless of their content."""

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
#: Queries that must see a token: at least this many, and this fraction of the largest number.
MIN_QUERIES, _MIN_FRACTION = 16, 0.25


@dataclass(frozen=True, eq=False)
class AttentionSinks(Displayed):
    """The attention sinks of a text.

    Attributes
    ----------
    heads
        Layer and head of each row of the arrays.
    tokens
        Rows of the token table that are a sink of at least one head, ascending.
    pieces
        Their vocabulary pieces.
    received
        Mean attention that each receives from the queries that see it, float64 ``[heads, tokens]``.
    first
        Mean attention to the first token, of the queries that see it, ``[heads]``.
    length
        Number of tokens of the text.
    """

    heads: tuple[tuple[int, int], ...]
    tokens: tuple[int, ...]
    pieces: tuple[str, ...]
    received: Floats
    first: Floats
    length: int

    @property
    def share(self) -> Floats:
        """Fraction of the heads that use each token as a sink, ``[tokens]``."""
        return np.asarray((self.received >= SINK_THRESHOLD).mean(axis=0))

    @property
    def heads_with_sink(self) -> float:
        """Fraction of the heads that have a sink."""
        return float((self.received >= SINK_THRESHOLD).any(axis=1).mean()) if self.tokens else 0.0

    def to_pandas(self) -> Any:
        """Return one row per head and sink: layer, head, token, piece, received."""
        import pandas as pd

        rows = [
            (*head, token, piece, self.received[row, column])
            for row, head in enumerate(self.heads)
            for column, (token, piece) in enumerate(zip(self.tokens, self.pieces, strict=True))
        ]
        return pd.DataFrame(rows, columns=["layer", "head", "token", "piece", "received"])

    def __repr__(self) -> str:
        return (
            f"AttentionSinks({len(self.tokens)} of {self.length:,} tokens, in {self.heads_with_sink:.0%} of "
            f"{len(self.heads)} heads; first token {self.first.mean():.2f} on average)"
        )


def attention_sinks(trace: Trace) -> AttentionSinks:
    r"""Find the attention sinks of a trace.

    In head h, token k receives :math:`\alpha_k = \frac{1}{n} \sum_q A_{q,k}`, the mean over the n later
    queries that see it; from 0.3 on it is a sink (Gu et al. 2024, arXiv:2410.10781, §2, whose mean includes
    the token's attention to itself and is of the first tokens; here at least 16 queries, and a quarter of
    those that see the first token, must see it; the first tokens as sinks: Xiao et al. 2023,
    arXiv:2309.17453).

    Parameters
    ----------
    trace
        With attention (top keys; other keys count as 0).

    Returns
    -------
    AttentionSinks

    Raises
    ------
    LabError
        If there is no attention, or fewer than 17 tokens.
    """
    attention = require_attention(trace)
    length = len(attention)
    if length <= MIN_QUERIES:
        raise LabError(
            f"{length} tokens are too few to find sinks; at least {MIN_QUERIES + 1} are needed.",
            hint="Trace a longer prompt.",
        )
    every = np.concatenate([received(attention, layout.layer) for layout in attention.layers])
    tokens = np.flatnonzero((every >= SINK_THRESHOLD).any(axis=0))
    return AttentionSinks(
        heads=recorded_heads(attention),
        tokens=tuple(tokens.tolist()),
        pieces=tuple(str(piece) for piece in trace.tokens.pieces[tokens]),
        received=every[:, tokens],
        first=every[:, 0],
        length=length,
    )


def received(attention: Attention, layer: int) -> Floats:
    """Return the mean attention each token receives, ``[heads, tokens]``; 0 where too few queries see it."""
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
    enough = max(MIN_QUERIES, _MIN_FRACTION * seen.max())
    return np.where(seen >= enough, found / np.maximum(seen, 1), 0.0)

"""Window coverage: pairs of tokens outside local windows, and the attention of global heads there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ...display import Displayed
from ...errors import LabError
from .top_keys import evenly_spaced, recorded_heads, require_attention, top_keys

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ...trace.records.attention import Attention
    from ...trace.trace import Trace
    from .top_keys import Floats


@dataclass(frozen=True, eq=False)
class WindowCoverage(Displayed):
    """Coverage of a text by the windows of each layer.

    Attributes
    ----------
    tokens
        Number of tokens.
    layers
        The recorded layers.
    windows
        Window of each layer in tokens, its own included; None for global layers.
    outside
        Fraction of the pairs of a token and an earlier one that lie outside the window, ``[layers]``.
    receptive_field
        Number of tokens from which information can have come, through other tokens and all recorded layers up
        to each, ``[layers]``; all tokens from the first global layer on.
    heads
        Layer and head of every head of a global layer: the entries of `far_min` and `far_max`.
    far_min, far_max
        Bounds of the mean attention to keys outside the local window, of the queries that have such keys: the
        part among the recorded top keys, and what the top keys inside leave, ``[heads]``.
    window
        The local window; None without local layers.
    """

    tokens: int
    layers: tuple[int, ...]
    windows: tuple[int | None, ...]
    outside: Floats
    receptive_field: NDArray[np.int64]
    heads: tuple[tuple[int, int], ...]
    far_min: Floats
    far_max: Floats
    window: int | None

    def to_pandas(self) -> Any:
        """Return one row per layer: layer, kind, window, outside, receptive_field."""
        import pandas as pd

        return pd.DataFrame(
            {
                "layer": self.layers,
                "kind": ["global" if window is None else "local" for window in self.windows],
                "window": self.windows,
                "outside": self.outside,
                "receptive_field": self.receptive_field,
            }
        )

    def __repr__(self) -> str:
        local = [
            share for share, window in zip(self.outside, self.windows, strict=True) if window is not None
        ]
        summary = f"{len(local)} of {len(self.layers)} layers local"
        if local:
            summary += f", up to {max(local):.0%} of the pairs outside their window"
        if len(self.heads) and self.window is not None:
            bounds = f"{self.far_min.mean():.0%} to {self.far_max.mean():.0%}"
            summary += f"; attention of global heads there {bounds}"
        return f"WindowCoverage({self.tokens:,} tokens: {summary})"


def window_coverage(trace: Trace) -> WindowCoverage:
    r"""Return what local layers cannot attend to, and how much global heads attend there.

    Of the T (T + 1) / 2 pairs of a token and one not after it, a window of W covers :math:`\sum_q \min(q + 1,
    W)`. Through other tokens, each local layer extends the receptive field by W − 1 tokens; images whose
    tokens attend to one another are not counted.

    Parameters
    ----------
    trace
        With attention (top keys for `WindowCoverage.far_min` and `far_max`).

    Returns
    -------
    WindowCoverage

    Raises
    ------
    LabError
        If the trace has no attention.
    """
    attention = require_attention(trace)
    length = len(attention)
    if not length:
        raise LabError("This trace has no tokens.", hint="Trace a prompt.")
    windows = tuple(layout.window for layout in attention.layers)
    pairs = length * (length + 1) / 2
    outside = [1 - _seen(length, window) / pairs for window in windows]
    receptive_field, so_far = [], 1
    for window in windows:
        so_far = length if window is None else min(length, so_far + window - 1)
        receptive_field.append(so_far)
    local = [window for window in windows if window is not None]
    window = max(local) if local else None
    kinds = {layout.layer: layout.window for layout in attention.layers}
    heads = tuple(head for head in recorded_heads(attention) if kinds[head[0]] is None)
    far_min, far_max = _beyond(attention, window, heads)
    return WindowCoverage(
        tokens=length, layers=tuple(kinds), windows=windows, outside=np.asarray(outside),
        receptive_field=np.asarray(receptive_field), heads=heads, far_min=far_min, far_max=far_max,
        window=window,
    )  # fmt: skip


def _seen(length: int, window: int | None) -> float:
    if window is None or window >= length:
        return length * (length + 1) / 2
    return window * (window + 1) / 2 + (length - window) * window


def _beyond(
    attention: Attention, window: int | None, heads: tuple[tuple[int, int], ...]
) -> tuple[Floats, Floats]:
    if window is None or window >= len(attention) or not heads:
        return np.zeros(len(heads)), np.zeros(len(heads))
    top = top_keys(attention, evenly_spaced(np.arange(window, len(attention))))
    rows = [index for index, head in enumerate(top.heads) if head in heads]
    far = top.queries[None, :, None] - top.keys >= window
    far_min = top.mean_attention(far)[rows]
    near = top.mean_attention(~far)[rows]
    return far_min, np.maximum(far_min, 1 - near)

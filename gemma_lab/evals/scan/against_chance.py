"""What chance alone gives: the load of experts under uniform choices, the lens at other positions."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import zip_longest
from typing import TYPE_CHECKING, Any

import numpy as np

from ...analysis.experts.load import expert_load
from ...display import Displayed
from ..statistics import holm
from .candidates import rows_behind_answer

if TYPE_CHECKING:
    from ...trace.records.logit_lens import LogitLens
    from ...trace.records.routing import Routing
    from ...trace.trace import Trace

Array = np.ndarray[Any, np.dtype[Any]]
#: Draws of the null of uniform choices per layer that is tested: its smallest p value stays below 0.05.
_DRAWS, _DRAWS_PER_LAYER = 999, 40
_EXACT = 1 << 14  # tokens × experts up to which choices without replacement are drawn


@dataclass(frozen=True, eq=False)
class LoadAgainstChance(Displayed):
    """Load of the busiest expert of each layer, beside what tokens give that choose evenly by chance.

    Attributes
    ----------
    layers
        The model's own layers.
    peak
        Load of the busiest expert ÷ mean load, ``[layers]``.
    null
        Its 95 % quantile if every token chose `top_k` of the experts evenly and independently of others.
    adjusted
        P values of the layers, adjusted for their number (Holm 1979), ``[layers]``.

    Notes
    -----
    The null is a low bar: equal tokens choose equal experts, whatever the experts do.
    """

    layers: tuple[int, ...]
    peak: Array
    null: float
    adjusted: tuple[float, ...]

    @property
    def above(self) -> tuple[int, ...]:
        """Layers whose load is less even than chance, at an adjusted p value below 0.05."""
        return tuple(layer for layer, p in zip(self.layers, self.adjusted, strict=True) if p < 0.05)

    def to_pandas(self) -> Any:
        """Return one row per layer: layer, peak, null, adjusted p value (needs pandas)."""
        import pandas as pd

        return pd.DataFrame(
            {"layer": self.layers, "peak": self.peak, "null_95": self.null, "p_adjusted": self.adjusted}
        )

    def __repr__(self) -> str:
        return (
            f"LoadAgainstChance({len(self.above)} of {len(self.layers)} layers less even than chance: "
            f"busiest expert {self.peak.min():.1f} to {self.peak.max():.1f} × the mean, "
            f"{self.null:.1f} by chance)"
        )


def load_against_chance(routing: Routing, *, seed: int) -> LoadAgainstChance:
    """Compare the load of the busiest expert of each layer with uniform, independent choices."""
    load = expert_load(routing)
    draws = max(_DRAWS, _DRAWS_PER_LAYER * len(load.layers))
    null = _uniform_peaks(load.tokens, load.top_k, load.experts, draws=draws, seed=seed)
    p_values = [(1 + int((null >= peak - 1e-9).sum())) / (1 + len(null)) for peak in load.peak]
    return LoadAgainstChance(load.layers, load.peak, float(np.quantile(null, 0.95)), tuple(holm(p_values)))


def _uniform_peaks(tokens: int, top_k: int, experts: int, *, draws: int, seed: int) -> Array:
    """Return the peak of loads of tokens that choose evenly, ``[draws]``.

    Of many tokens each expert's count is drawn for itself, binomial: that counts sum up to tokens · k changes
    the largest of many counts little.
    """
    random = np.random.default_rng(seed)
    mean = tokens * top_k / experts
    if tokens * experts > _EXACT:
        return np.asarray(random.binomial(tokens, top_k / experts, size=(draws, experts)).max(axis=1) / mean)
    peaks = []
    for _ in range(draws):
        ids = random.random((tokens, experts)).argsort(axis=1)[:, :top_k]
        peaks.append(np.bincount(ids.ravel(), minlength=experts).max() / mean)
    return np.asarray(peaks)


@dataclass(frozen=True, eq=False)
class AnswerDepth(Displayed):
    """In which layers the logit lens already has the tokens of the answer first.

    Attributes
    ----------
    layers
        The model's own layers.
    rows
        Rows behind the answer's tokens that the lens was recorded at.
    first, stable
        Of each token, the first layer that has it first, and the one from which on it stays so, ``[rows]``.
    share
        Fraction of the tokens that each layer has first, ``[layers]``.
    control
        The same for the choice of another row at this one: how often a word is first wherever one looks.
    """

    layers: tuple[int, ...]
    rows: tuple[int, ...]
    first: Array
    stable: Array
    share: Array
    control: Array

    def to_pandas(self) -> Any:
        """Return one row per layer: layer, share of the answer's tokens first, control (needs pandas)."""
        import pandas as pd

        return pd.DataFrame({"layer": self.layers, "share": self.share, "control": self.control})

    def __repr__(self) -> str:
        return (
            f"AnswerDepth({len(self.rows)} tokens of the answer: first in layer {self.first.min()} to "
            f"{self.first.max()}, median {np.median(self.first):g} of {len(self.layers)} layers)"
        )


def answer_depth(trace: Trace) -> AnswerDepth | None:
    """Return where the lens has the answer first; None if it was not recorded behind the answer.

    Of a token that was sampled, or bound by a grammar, the lens follows another one, the last layer's first
    choice: such tokens are left out.
    """
    lens = trace.logit_lens
    if lens is None:
        return None
    ids = [] if trace.generation is None else trace.generation.ids.tolist()
    written = dict(zip_longest(rows_behind_answer(trace).tolist(), ids))  # None: nothing was written after it
    columns = [
        at
        for at, row in enumerate(lens.positions.tolist())
        if row in written and written[row] in (None, lens.target_ids[at, 0])
    ]
    if not columns:
        return None
    chosen = lens.target_ids[columns, 0]
    top = lens.ids[:, :, 0]  # [layers, positions]
    hit = lens.ranks[:, columns, 0] == 0
    layers = np.asarray(lens.layers)
    return AnswerDepth(
        layers=lens.layers,
        rows=tuple(int(lens.positions[at]) for at in columns),
        first=layers[hit.argmax(axis=0)],
        stable=lens.stable_from_layer()[columns],
        share=hit.mean(axis=1),
        control=_elsewhere(lens, top, chosen),
    )


def _elsewhere(lens: LogitLens, top: Array, chosen: Array) -> Array:
    """Return how often the top word of a layer is the answer's at rows that decide another word."""
    final = lens.target_ids[:, 0]
    other = final[None, :] != chosen[:, None]  # [answer rows, positions]
    if not other.any():
        return np.full(len(top), np.nan)
    same = top[:, None, :] == chosen[None, :, None]
    return np.asarray((same & other[None]).sum(axis=(1, 2)) / other.sum())

"""Features of a sparse autoencoder: the strongest of each token, and how much of the stream they explain."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ...checks import whole_number
from ...display import Displayed
from ...errors import BadTrace
from .reconstruction_fit import ReconstructionFit

Array = np.ndarray[Any, np.dtype[Any]]

MAX_FEATURES = 1 << 24
MAX_KEPT = 1024
_TRACE_AGAIN = "Trace again, or open another file."


@dataclass(frozen=True, eq=False)
class Features(ReconstructionFit, Displayed):
    """Features of a sparse autoencoder (SAE) at every token of a trace, T tokens, the k strongest of each.

    The arrays are data; what interprets them (`at`, `of`, `to_pandas`, the tint of `gemma_lab.Explorer`)
    raises `LabError` below `min_variance_explained`: features that do not rebuild the stream say nothing
    about it.

    Attributes
    ----------
    sae
        Name of the SAE.
    layer
        It reads the residual stream after this layer.
    features
        Number of its features.
    ids, activations
        The strongest features of each token and their activations, int32 and float32 ``[T, k]``, strongest
        first; −1 and 0 where a token has fewer.
    active
        How many features each token has, recorded or not, int32 ``[T]``.
    squared_errors
        ‖x − x̂‖² of each token, from all its features, float32 ``[T]``.
    counted
        Tokens that the fit is of, bool ``[T]``: not the first token ``<bos>``, whose norm is far from all
        others', and no soft tokens of media, which SAEs of text were not trained on.
    total_variance
        Σ‖x − mean‖² over the counted tokens.
    min_variance_explained
        Fit below which features are not interpreted.
    same_weights
        Whether the model has the weights that the SAE was trained on; None if its files do not say.
    """

    sae: str
    layer: int
    features: int
    ids: Array = field(repr=False)
    activations: Array = field(repr=False)
    active: Array = field(repr=False)
    squared_errors: Array = field(repr=False)
    counted: Array = field(repr=False)
    total_variance: float
    min_variance_explained: float
    same_weights: bool | None = None

    def __post_init__(self) -> None:
        tokens = len(self.ids)
        if self.ids.ndim != 2 or not 1 <= self.ids.shape[1] <= MAX_KEPT:
            raise _bad(f"its ids have shape {self.ids.shape}")
        if self.activations.shape != self.ids.shape:
            raise _bad(f"its activations have shape {self.activations.shape}")
        for name in ("active", "squared_errors", "counted"):
            if getattr(self, name).shape != (tokens,):
                raise _bad(f"its {name} have shape {getattr(self, name).shape} for {tokens:,} tokens")

    def check(self) -> None:
        """Raise `BadTrace` unless every value is one that an SAE can give."""
        ids, values = self.ids, self.activations
        recorded = ids >= 0
        if (ids < -1).any() or (ids >= self.features).any():
            raise _bad(f"a feature is not among its {self.features:,}")
        if not np.isfinite(values).all() or (values[recorded] <= 0).any() or (values[~recorded] != 0).any():
            raise _bad("its activations are not all positive numbers")
        if (np.diff(values, axis=1) > 0).any() or (recorded[:, 1:] & ~recorded[:, :-1]).any():
            raise _bad("the features of a token are not ordered by their activation")
        ordered = np.sort(ids, axis=1)
        if ((np.diff(ordered, axis=1) == 0) & (ordered[:, 1:] >= 0)).any():
            raise _bad("a token has one feature twice")
        count = recorded.sum(axis=1)
        if (self.active < count).any() or ((self.active > count) & (count < ids.shape[1])).any():
            raise _bad("the numbers of active features contradict the recorded ones")
        errors = self.squared_errors
        if not np.isfinite(errors).all() or (errors < 0).any():
            raise _bad("its errors are not all positive numbers")
        if not (np.isfinite(self.total_variance) and self.total_variance >= 0):
            raise _bad(f"its total variance is {self.total_variance}")

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def kept(self) -> int:
        """How many features of a token are recorded at most."""
        return int(self.ids.shape[1])

    @property
    def variance_explained(self) -> float:
        """``1 − Σ‖x − x̂‖² ÷ Σ‖x − mean‖²`` over the counted tokens; NaN if they do not vary."""
        if self.total_variance <= 0:
            return float("nan")
        lost = float(self.squared_errors[self.counted].astype(np.float64).sum())
        return 1.0 - lost / self.total_variance

    @property
    def mean_active(self) -> float:
        """Mean number of active features per counted token (L0); NaN without any."""
        return float(self.active[self.counted].mean()) if self.counted.any() else float("nan")

    @property
    def fitted_tokens(self) -> int:
        """Number of counted tokens."""
        return int(self.counted.sum())

    def at(self, token: int) -> dict[int, float]:
        """Return the recorded features of a token with their activations, strongest first.

        Raises
        ------
        LabError
            If there is no such token, or the fit is below `min_variance_explained`.
        """
        self.require_fit()
        row = whole_number("token", token, minimum=0, maximum=max(0, len(self) - 1))
        pairs = zip(self.ids[row].tolist(), self.activations[row].tolist(), strict=True)
        return {feature: value for feature, value in pairs if feature >= 0}

    def of(self, feature: int) -> Array:
        """Return the activation of a feature at every token, float32 ``[T]``; 0 where it is not recorded.

        Raises
        ------
        LabError
            If there is no such feature, or the fit is below `min_variance_explained`.
        """
        self.require_fit()
        number = whole_number("feature", feature, minimum=0, maximum=self.features - 1)
        found: Array = np.where(self.ids == number, self.activations, 0).max(axis=1).astype(np.float32)
        return found

    def strongest(self, count: int = 10) -> list[tuple[int, float, int]]:
        """Return features by their largest activation in the counted tokens: feature, activation, token.

        Raises
        ------
        LabError
            If the fit is below `min_variance_explained`.
        """
        self.require_fit()
        count = whole_number("count", count, minimum=1)
        rows = np.flatnonzero(self.counted)
        ids, values = self.ids[rows].reshape(-1), self.activations[rows].reshape(-1)
        order = np.lexsort((ids, -values))
        order = order[ids[order] >= 0]
        _, first = np.unique(ids[order], return_index=True)
        best = order[np.sort(first)][:count]
        return [(int(ids[at]), float(values[at]), int(rows[at // self.kept])) for at in best]

    def to_pandas(self) -> Any:
        """Return one row per recorded feature: token, rank, feature, activation (needs pandas).

        Raises
        ------
        LabError
            If the fit is below `min_variance_explained`.
        """
        import pandas as pd

        self.require_fit()
        token, rank = np.nonzero(self.ids >= 0)
        return pd.DataFrame(
            {
                "token": token,
                "rank": rank,
                "feature": self.ids[token, rank],
                "activation": self.activations[token, rank],
            }
        )

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Features):
            return NotImplemented
        plain = ("sae", "layer", "features", "total_variance", "min_variance_explained", "same_weights")
        arrays = ("ids", "activations", "active", "squared_errors", "counted")
        return all(getattr(self, name) == getattr(other, name) for name in plain) and all(
            np.array_equal(getattr(self, name), getattr(other, name)) for name in arrays
        )

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        other = "" if self.same_weights is not False else ", trained on other weights"
        poor = "" if self.fits else f" (below {self.min_variance_explained:g}: not interpreted)"
        name = " ".join(self.sae.split())
        return (
            f"Features(variance explained {self.variance_explained:.3f}{poor} on {int(self.counted.sum()):,} "
            f"tokens, L0 {self.mean_active:.1f}; {name}, layer {self.layer}, "
            f"{self.features:,} features{other})"
        )


def _bad(what: str) -> BadTrace:
    return BadTrace(f"The SAE features are not sound: {what}.", hint=_TRACE_AGAIN)

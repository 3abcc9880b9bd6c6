"""Co-activation of experts: pairs chosen together more or less often than their loads explain."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ...display import Displayed
from .expert_set import ExpertSet, top_experts
from .routing_pool import RoutingPool, choice_counts

if TYPE_CHECKING:
    from ...trace.records.routing import Routing

Floats = NDArray[np.float64]
_TOKENS_AT_ONCE = 16_384
_SWEEPS = 200


@dataclass(frozen=True, eq=False)
class Coactivation(Displayed):
    """Pairs of experts chosen by the same token.

    Attributes
    ----------
    layers
        The model's layer index of each row.
    tokens
        Number of tokens.
    counts
        Tokens that chose both experts, ``[layers, experts, experts]``, symmetric; the diagonal is each
        expert's own count.
    expected
        The same under independence, given the loads and exactly k experts per token; see `expected_pairs`.
        The diagonal is each expert's own count.
    """

    layers: tuple[int, ...]
    tokens: int
    counts: NDArray[np.int64]
    expected: Floats

    def __repr__(self) -> str:
        rows, experts, _ = self.counts.shape
        strongest = self.top(1)[0]
        layer, first, second, count, expected, _ = strongest
        return (
            f"Coactivation({rows} layers × {experts * (experts - 1) // 2:,} pairs of experts, "
            f"{self.tokens:,} tokens; strongest: layer {layer}, experts {first} and {second}, "
            f"{count:,} times, {expected:.1f} expected)"
        )

    @property
    def rate(self) -> Floats:
        """Fraction of expert i's tokens that also chose j, ``[layers, i, j]``; 0 if i is unused.

        The co-activation of Muennighoff et al. 2024 (*OLMoE*, arXiv:2409.02060, section 5.2).
        """
        own = np.diagonal(self.counts, axis1=1, axis2=2)[:, :, None]
        empty = np.zeros(self.counts.shape)
        return np.asarray(np.divide(self.counts, own, out=empty, where=own > 0))

    @property
    def lift(self) -> Floats:
        """Observed ÷ expected, ``[layers, experts, experts]``: 1 is independence; NaN if none is expected."""
        empty = np.full(self.counts.shape, np.nan)
        return np.asarray(np.divide(self.counts, self.expected, out=empty, where=self.expected > 0))

    @property
    def score(self) -> Floats:
        """Evidence against independence, ``[layers, experts, experts]``; positive above the expected count.

        The signed root of the log-likelihood ratio of the observed count n and the expected rate p over T
        tokens, ``± √(2 (n ln(n / Tp) + (T − n) ln((T − n) / (T(1 − p)))))`` (Dunning 1993, *Accurate methods
        for the statistics of surprise and coincidence*, Comp. Linguistics 19(1), 61–74): unlike a difference
        in standard deviations, it does not rank chance meetings of two rare experts first. A ranking, not a
        test: it assumes independent tokens, and neighbouring tokens are not. The diagonal is 0.
        """
        n, expected, total = self.counts.astype(np.float64), self.expected, float(self.tokens)
        evidence = 2 * (_surprise(n, expected) + _surprise(total - n, total - expected))
        return np.asarray(np.sign(n - expected) * np.sqrt(np.maximum(evidence, 0)))

    def top(self, count: int = 10) -> list[tuple[int, int, int, int, float, float]]:
        """Return the pairs with the highest `score`: (layer, expert, expert, observed, expected, score)."""
        score = self.score
        first, second = np.triu_indices(self.counts.shape[1], k=1)
        flat = score[:, first, second].ravel()
        best = np.argsort(-flat, kind="stable")[:count]
        rows, pairs = np.divmod(best, len(first))
        return [
            (
                self.layers[row],
                int(first[pair]),
                int(second[pair]),
                int(self.counts[row, first[pair], second[pair]]),
                float(self.expected[row, first[pair], second[pair]]),
                float(score[row, first[pair], second[pair]]),
            )
            for row, pair in zip(rows, pairs, strict=True)
        ]

    def top_experts(self, count: int) -> ExpertSet:
        """Return the experts of the pairs with the highest `score`, to be tested by an ablation.

        Raises
        ------
        LabError
            If fewer experts are in a pair that is chosen together more often than expected.
        """
        strongest = self.score.max(axis=2)  # of each expert's pairs
        return top_experts(strongest, self.layers, count, statistic="co-activated experts")

    def to_pandas(self, count: int = 1_000) -> Any:
        """Return the `count` highest-scoring pairs: layer, expert, other, count, expected, score."""
        import pandas as pd

        return pd.DataFrame(
            self.top(count), columns=["layer", "expert", "other", "count", "expected", "score"]
        )


def coactivation(routing: Routing | Sequence[Routing]) -> Coactivation:
    """Count the pairs of experts chosen together, with their expected counts under independence.

    Memory: ``layers × experts² × 16`` bytes, and 16,384 tokens of one layer at a time.

    Parameters
    ----------
    routing
        Of a trace, or of several of one model.

    Returns
    -------
    Coactivation

    Raises
    ------
    LabError
        If there is no token, or the routings are of different models.
    """
    pool = RoutingPool(routing)
    counts, expected = [], []
    for row in range(len(pool.layers)):
        ids = pool.ids(row)
        counts.append(_pairs(ids, pool.experts))
        rates = choice_counts(ids, pool.experts) / pool.tokens
        expected.append(pool.tokens * expected_pairs(rates))
    return Coactivation(
        layers=pool.layers, tokens=pool.tokens, counts=np.stack(counts), expected=np.stack(expected)
    )


def expected_pairs(rates: Floats) -> Floats:
    """Return the rate of every pair under independence, given how often each expert is chosen.

    The k experts of a token are drawn *without* replacement, so the product of two rates is too high. The
    model of independence is the design of maximum entropy with these rates and exactly k choices (conditional
    Poisson sampling); its pair rates are approximated by Hájek 1964 (*Asymptotic theory of rejective
    sampling*, Ann. Math. Statist. 35, 1491–1523):

    ``π_ij ≈ π_i π_j (1 − (1 − π_i)(1 − π_j) / d)``, with ``d = Σ π (1 − π)``,

    then scaled symmetrically to the exact row sums ``Σ_{j≠i} π_ij = (k − 1) π_i``. With equal rates the
    result is exact, ``k(k − 1) / (E(E − 1))``; in general the error is of order 1/d.

    Parameters
    ----------
    rates
        Fraction of the tokens that chose each expert, ``[experts]``; sums to k.

    Returns
    -------
    numpy.ndarray
        ``[experts, experts]``, symmetric, with `rates` on the diagonal.
    """
    pairs = np.outer(rates, rates)  # exact where an expert is always or never chosen
    some = np.flatnonzero((rates > 0) & (rates < 1))
    pairs[np.ix_(some, some)] = _free_pairs(rates[some])
    np.fill_diagonal(pairs, rates)
    return pairs


def _free_pairs(rates: Floats) -> Floats:
    """Return the pair rates of experts with rates between 0 and 1; the diagonal is 0."""
    spread = float((rates * (1 - rates)).sum())
    if rates.sum() < 1 + 1e-9:  # one of them a token, so never two
        return np.zeros((len(rates), len(rates)))
    pairs = np.outer(rates, rates) * (1 - np.outer(1 - rates, 1 - rates) / spread)
    np.fill_diagonal(pairs, 0)
    target = (rates.sum() - 1) * rates
    factor = np.ones_like(rates)
    for _ in range(_SWEEPS):
        ratio = target / (factor * (pairs @ factor))
        factor *= np.sqrt(ratio)
        if np.abs(ratio - 1).max() < 1e-10:
            break
    return np.asarray(pairs * np.outer(factor, factor))


def _surprise(observed: Floats, expected: Floats) -> Floats:
    """Return ``observed × ln(observed / expected)``, 0 where nothing was observed."""
    ratio = np.divide(observed, expected, out=np.ones_like(observed), where=(observed > 0) & (expected > 0))
    return np.asarray(observed * np.log(ratio))


def _pairs(ids: NDArray[np.intp], experts: int) -> NDArray[np.int64]:
    """Count the pairs of ``[tokens, k]`` ids: the product of the one-hot choices with themselves."""
    total = np.zeros((experts, experts))
    for start in range(0, len(ids), _TOKENS_AT_ONCE):
        part = ids[start : start + _TOKENS_AT_ONCE]
        chosen = np.zeros((len(part), experts), dtype=np.float32)  # sums stay below 2^24, so they are exact
        np.put_along_axis(chosen, part, 1, axis=1)
        total += chosen.T @ chosen
    return total.astype(np.int64)

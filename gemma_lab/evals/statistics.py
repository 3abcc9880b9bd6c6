"""Intervals of proportions and means, and a paired test of two series of answers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ..display import Displayed

if TYPE_CHECKING:
    from numpy.typing import NDArray


def wilson_interval(successes: float, trials: float) -> tuple[float, float]:
    """Return the 95 % Wilson score interval of a proportion (E. B. Wilson 1927, JASA 22:209).

    Raises
    ------
    ZeroDivisionError
        If there are no trials.
    """
    z, proportion = 1.959964, successes / trials
    denominator = 1 + z * z / trials
    center = (proportion + z * z / (2 * trials)) / denominator
    half = z * math.sqrt(proportion * (1 - proportion) / trials + z * z / (4 * trials * trials)) / denominator
    return max(0.0, center - half), min(1.0, center + half)


@dataclass(frozen=True)
class PairedAnswers(Displayed):
    """Contingency table of two series of answers to the same questions.

    Attributes
    ----------
    both, first, second, neither
        Number of questions answered correctly by both, only by the first, only by the second, by neither.
    """

    both: int
    first: int
    second: int
    neither: int

    @property
    def p_value(self) -> float:
        """P value of the exact two-sided McNemar test (Q. McNemar 1947, Psychometrika 12:153).

        A sign test on the questions that exactly one of the two answered correctly; 1 if there are none.
        """
        discordant, fewer = self.first + self.second, min(self.first, self.second)
        tail: float = sum(math.comb(discordant, k) for k in range(fewer + 1)) / 2**discordant
        return min(1.0, 2 * tail)

    def to_pandas(self) -> object:
        """Return the two-by-two table as a frame: rows are the first series, columns the second."""
        import pandas as pd

        columns = {"second correct": [self.both, self.second], "second wrong": [self.first, self.neither]}
        return pd.DataFrame({"": ["first correct", "first wrong"], **columns})

    def __repr__(self) -> str:
        asked = self.both + self.first + self.second + self.neither
        return (
            f"PairedAnswers({asked} questions: both correct {self.both}, only the first {self.first}, only "
            f"the second {self.second}, neither {self.neither}; p = {self.p_value:.2g})"
        )


def mcnemar_test(first: Sequence[bool], second: Sequence[bool]) -> PairedAnswers:
    """Compare two series of answers to the same questions with McNemar's exact test.

    Parameters
    ----------
    first, second
        Whether each answer is correct; both in the same order of questions.

    Raises
    ------
    ValueError
        If their lengths differ.

    Examples
    --------
    >>> mcnemar_test([True, True, False], [True, False, False]).p_value
    1.0
    """
    pairs = list(zip(first, second, strict=True))
    outcomes = ((True, True), (True, False), (False, True), (False, False))
    return PairedAnswers(*(pairs.count(outcome) for outcome in outcomes))


def paired_difference_interval(first: int, second: int, trials: int) -> tuple[float, float]:
    """Return the 95 % interval of the difference of two paired proportions, second − first.

    The adjusted Wald interval of Bonett and Price 2012 (J. Educ. Behav. Stat. 37:479): one is added to each
    count of discordant pairs.

    Parameters
    ----------
    first, second
        Number of pairs in which only the first, only the second succeeded.
    trials
        Number of pairs.

    Raises
    ------
    ValueError
        If there are more discordant pairs than pairs, or none at all.
    """
    if not 0 <= first + second <= trials or min(first, second) < 0 or trials < 1:
        raise ValueError(f"{first} and {second} of {trials} pairs")
    total = trials + 2
    only_first, only_second = (first + 1) / total, (second + 1) / total
    difference = only_second - only_first
    half = 1.959964 * math.sqrt((only_first + only_second - difference**2) / total)
    return max(-1.0, difference - half), min(1.0, difference + half)


def holm(p_values: Sequence[float]) -> list[float]:
    """Return p values adjusted for several tests (S. Holm 1979, Scand. J. Stat. 6:65), in the same order.

    Reject where the adjusted value is below α: the probability of any false rejection is then at most α.
    """
    order = sorted(range(len(p_values)), key=lambda index: p_values[index])
    adjusted, largest = [0.0] * len(p_values), 0.0
    for rank, index in enumerate(order):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = largest
    return adjusted


def clustered_mean_interval(
    values: NDArray[np.float64], clusters: NDArray[np.integer], *, draws: int = 2000, seed: int = 0
) -> tuple[float, float]:
    """Return the 95 % bootstrap interval of a mean of values that come in clusters, e.g. tokens of prompts.

    Whole clusters are drawn with replacement (Davison and Hinkley 1997, *Bootstrap Methods*, §3.8), since
    tokens of one prompt resemble each other; the interval is that of the percentiles.

    Parameters
    ----------
    values
        The values, ``(n,)``.
    clusters
        The cluster of each, ``(n,)``.
    draws, seed
        Number of bootstrap samples, and seed of the random numbers.

    Returns
    -------
    tuple of float
        NaN if there are fewer than two clusters.
    """
    found, index = np.unique(clusters, return_inverse=True)
    if len(found) < 2:
        return math.nan, math.nan
    sums = np.bincount(index, weights=values)
    counts = np.bincount(index).astype(float)
    drawn = np.random.default_rng(seed).integers(len(found), size=(draws, len(found)))
    low, high = np.quantile(sums[drawn].sum(axis=1) / counts[drawn].sum(axis=1), (0.025, 0.975))
    return float(low), float(high)


def clustered_proportion_interval(
    successes: NDArray[np.bool_], clusters: NDArray[np.integer]
) -> tuple[float, float]:
    """Return the 95 % interval of a proportion of successes that come in clusters.

    The Wilson interval at the effective sample size of Korn and Graubard 1998 (Surv. Methodol. 24:193): the
    number of trials divided by the design effect, the variance of the clustered mean over that of independent
    trials. At a proportion of 0 or 1, or with one cluster, the design effect is taken as 1.

    Parameters
    ----------
    successes
        Whether each trial succeeded, ``(n,)``.
    clusters
        The cluster of each, ``(n,)``.

    Raises
    ------
    ZeroDivisionError
        If there are no trials.
    """
    trials, proportion = len(successes), float(np.mean(successes)) if len(successes) else 0.0
    found, index = np.unique(clusters, return_inverse=True)
    effect = 1.0
    if len(found) > 1 and 0 < proportion < 1:
        residuals = np.bincount(index, weights=successes - proportion)
        variance = len(found) / (len(found) - 1) * float((residuals**2).sum()) / trials**2
        effect = max(1.0, variance * trials / (proportion * (1 - proportion)))
    return wilson_interval(proportion * trials / effect, trials / effect)


@dataclass(frozen=True)
class RankCorrelation:
    """Spearman's rank correlation of two series, with an interval.

    Attributes
    ----------
    rho
        −1 to 1; NaN if one of the series is constant.
    low, high
        The 95 % bootstrap interval; NaN with fewer than two clusters.
    count
        Number of pairs.
    """

    rho: float
    low: float
    high: float
    count: int

    def __str__(self) -> str:
        return f"ρ = {self.rho:.2f} [{self.low:.2f}, {self.high:.2f}], n = {self.count:,}"


def rank_correlation(
    first: NDArray[np.float64],
    second: NDArray[np.float64],
    clusters: NDArray[np.integer] | None = None,
    *,
    draws: int = 1000,
    seed: int = 0,
) -> RankCorrelation:
    """Return Spearman's rank correlation (C. Spearman 1904, Am. J. Psychol. 15:72) with a 95 % interval.

    Parameters
    ----------
    first, second
        The series, ``(n,)``.
    clusters
        The cluster of each pair, ``(n,)``; whole clusters are drawn, since pairs of one resemble each other.
        Default: each pair for itself.
    draws, seed
        Number of bootstrap samples, and seed of the random numbers.

    Raises
    ------
    ValueError
        If the series differ in length.
    """
    if len(first) != len(second):
        msg = f"the series have {len(first)} and {len(second)} values"
        raise ValueError(msg)
    found, index = np.unique(np.arange(len(first)) if clusters is None else clusters, return_inverse=True)
    members = [np.flatnonzero(index == cluster) for cluster in range(len(found))]
    low = high = math.nan
    if len(found) > 1:
        random = np.random.default_rng(seed)
        samples = []
        for _ in range(draws):
            drawn = np.concatenate([members[each] for each in random.integers(len(found), size=len(found))])
            samples.append(_spearman(first[drawn], second[drawn]))
        if np.isfinite(samples).any():
            low, high = (float(each) for each in np.nanquantile(samples, (0.025, 0.975)))
    return RankCorrelation(_spearman(first, second), low, high, len(first))


def _spearman(first: NDArray[np.float64], second: NDArray[np.float64]) -> float:
    ranks = [_ranks(each) for each in (first, second)]
    if len(first) < 2 or any(each.std() == 0 for each in ranks):
        return math.nan
    correlations: NDArray[np.float64] = np.asarray(np.corrcoef(np.stack(ranks)))
    return float(correlations[0, 1])


def _ranks(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return ranks from 0; equal values share the mean of theirs."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    ranks: NDArray[np.float64] = (ends - (counts + 1) / 2)[inverse]
    return ranks

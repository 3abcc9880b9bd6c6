"""Lower bound of the divergence of two next-token distributions from their recorded probabilities."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

#: Smallest remaining probability that float32 log-probabilities resolve.
_ROUNDING = 1e-6


@dataclass(frozen=True)
class KLBound:
    """Lower bound of a Kullback–Leibler divergence.

    Attributes
    ----------
    nats
        The bound, at least 0.
    resolved
        Probability, under the first distribution, of the tokens that are outcomes of their own. The bound is
        the divergence itself if this is 1.
    """

    nats: float
    resolved: float


def kl_bound(first: Mapping[int, float], second: Mapping[int, float]) -> KLBound:
    r"""Bound the divergence of two distributions from the log-probabilities of some tokens.

    Every token known in *both* is a separate outcome, all others are merged into one, "other". With p and
    q the probabilities of these outcomes, the bound is

    .. math:: \sum_i p_i \ln \frac{p_i}{q_i} \le KL(P \,\|\, Q).

    Merging outcomes never increases a divergence: the data-processing (log-sum) inequality, Cover and Thomas
    2006, *Elements of Information Theory*, theorems 2.7.1 and 2.8.1. Equality holds if P and Q agree on the
    distribution within "other"; without a token known in both the bound is 0.

    Parameters
    ----------
    first, second
        Token id → natural log of its probability, under P and under Q. Each sums to at most 1.

    Returns
    -------
    KLBound

    Notes
    -----
    Recorded values are rounded, so the rest may come out as 0 or less. It is taken as at least
    1e-6 under Q and at least 0 under P, which can only lower the bound.
    """
    both = first.keys() & second.keys()
    p = {token: math.exp(first[token]) for token in both}
    resolved = math.fsum(p.values())
    nats = math.fsum(p[token] * (first[token] - second[token]) for token in both if p[token] > 0)
    other = max(0.0, 1.0 - resolved)
    if other > 0:
        rest = max(_ROUNDING, 1.0 - math.fsum(math.exp(second[token]) for token in both))
        nats += other * math.log(other / rest)
    return KLBound(nats=max(0.0, nats), resolved=min(1.0, resolved))

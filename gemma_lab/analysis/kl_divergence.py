"""How far two next-token distributions are apart at least, from the few probabilities that were recorded."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

#: What float32 log-probabilities leave undecided of a rest; a rest is not taken to be smaller.
_ROUNDING = 1e-6


@dataclass(frozen=True)
class KLBound:
    """A lower bound of a Kullback–Leibler divergence.

    Attributes
    ----------
    nats
        The bound, 0 or more.
    resolved
        Probability, under the first distribution, of the tokens that have a bin of their own. The bound is
        the divergence itself where it is 1.
    """

    nats: float
    resolved: float


def kl_bound(first: Mapping[int, float], second: Mapping[int, float]) -> KLBound:
    r"""KLBound the divergence of two distributions of which only some log-probabilities are known.

    Every token known in *both* gets a bin of its own, all others together one more, "other". With p and q the
    probabilities of these bins, the bound is

    .. math:: \sum_i p_i \ln \frac{p_i}{q_i} \le KL(P \,\|\, Q).

    Merging outcomes never increases a divergence: the data-processing (log-sum) inequality, Cover and Thomas
    2006, *Elements of Information Theory*, theorems 2.7.1 and 2.8.1. It is an equality if P and Q agree on
    how "other" is made up; with no token known in both it is 0 and says nothing.

    Parameters
    ----------
    first, second
        Token id → natural log of its probability, under P and under Q. Each sums to at most 1.

    Notes
    -----
    What is recorded is rounded, so a rest may come out as 0 or less. It is taken as 1e-6 or more under Q and
    as 0 or more under P, which can only lower the bound.
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

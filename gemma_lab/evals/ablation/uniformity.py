"""Whether the p values of random sets are uniform, as they must be if the null is right."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]


def uniformity_p(
    p_values: Sequence[Array], draws: Sequence[int], *, samples: int = 2000, seed: int = 0
) -> float:
    """Return the p value of too many small p values, of random sets that were each tested against a null.

    The statistic is the largest excess of the empirical distribution over the diagonal (the one-sided
    statistic of Kolmogorov and Smirnov). Its distribution is simulated: the p values of one null share its
    draws, and are ranks among them, thus neither independent nor continuous.

    Parameters
    ----------
    p_values
        Of the sets that were compared with each null.
    draws
        Number of draws of each null.
    samples, seed
        Number of simulations, and seed of the random numbers.

    Returns
    -------
    float
        NaN without p values.
    """
    kept = [(len(values), count) for values, count in zip(p_values, draws, strict=True) if len(values)]
    if not kept:
        return float("nan")
    random = np.random.default_rng(seed)
    simulated = []
    for sets, count in kept:
        drawn = random.random((samples, sets + count))
        null = np.sort(drawn[:, sets:], axis=1)
        above = np.stack(
            [
                count - np.searchsorted(row, one, side="left")
                for row, one in zip(null, drawn[:, :sets], strict=True)
            ]
        )
        simulated.append((1 + above) / (1 + count))
    expected = _excess(np.concatenate(simulated, axis=1))
    observed = _excess(np.concatenate([values for values in p_values if len(values)])[None])[0]
    return float((1 + (expected >= observed - 1e-12).sum()) / (1 + samples))


def _excess(p_values: Array) -> Array:
    """Return the largest excess of the empirical distribution over the diagonal, ``[rows]``."""
    ordered = np.sort(p_values, axis=1)
    fraction = np.arange(1, ordered.shape[1] + 1) / ordered.shape[1]
    return np.asarray((fraction - ordered).max(axis=1))

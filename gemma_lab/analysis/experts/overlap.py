"""Overlap of the routing of two prompts, and its stability under paraphrase."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ...display import Displayed
from ...errors import LabError
from .divergence import jensen_shannon
from .routing_pool import RoutingPool, choice_counts

if TYPE_CHECKING:
    from ...trace.records.routing import Routing

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class RoutingOverlap(Displayed):
    """Overlap of two routings; every array is ``[layers]``.

    Attributes
    ----------
    layers
        The model's layer index of each row.
    tokens
        Tokens of the first and of the second routing.
    load
        Overlap of the two loads, ``Σ_e min(p_e, q_e)``: 1 is the same load, 0 no common expert. It is 1 minus
        the total variation distance.
    experts
        Jaccard index of the sets of experts used at least once. Longer prompts use more experts, so compare
        it between prompts of similar length.
    bits
        Jensen–Shannon divergence of the loads, bits.
    aligned
        Mean over token positions of the Jaccard index of the two top-k sets; None unless both have as many
        tokens. It is meaningful where position t is the same token in both.
    """

    layers: tuple[int, ...]
    tokens: tuple[int, int]
    load: Floats
    experts: Floats
    bits: Floats
    aligned: Floats | None

    def __repr__(self) -> str:
        first, second = self.tokens
        same = "" if self.aligned is None else f", token by token {self.aligned.mean():.2f}"
        return (
            f"RoutingOverlap({len(self.layers)} layers, {first:,} and {second:,} tokens: mean load overlap "
            f"{self.load.mean():.2f}, experts in common {self.experts.mean():.2f}{same})"
        )

    def to_pandas(self) -> Any:
        """Return one row per layer: layer, load, experts, bits, aligned (NaN where it is not defined)."""
        import pandas as pd

        aligned = np.full(len(self.layers), np.nan) if self.aligned is None else self.aligned
        columns = {"load": self.load, "experts": self.experts, "bits": self.bits, "aligned": aligned}
        return pd.DataFrame({"layer": self.layers, **columns})


@dataclass(frozen=True, eq=False)
class RoutingStability(Displayed):
    """Load overlap of prompts with the same and with different meanings.

    Attributes
    ----------
    layers
        The model's layer index of each row.
    meanings, prompts
        Number of meanings, and total number of prompts.
    within, between
        Mean load overlap of two prompts of the same meaning, and of different meanings, ``[layers]``.
    p
        Probability under permuted meanings of a difference this large in *any* layer, ``[layers]``.
    permutations, seed
        Of `p`.
    """

    layers: tuple[int, ...]
    meanings: int
    prompts: int
    within: Floats
    between: Floats
    p: Floats
    permutations: int
    seed: int

    def __repr__(self) -> str:
        return (
            f"RoutingStability({self.prompts} prompts of {self.meanings} meanings, "
            f"{len(self.layers)} layers: mean load overlap {self.within.mean():.3f} within a meaning, "
            f"{self.between.mean():.3f} between, smallest p {self.p.min():.3g})"
        )

    @property
    def gain(self) -> Floats:
        """`within` − `between`, ``[layers]``: 0 if paraphrases overlap no more than other prompts."""
        return self.within - self.between

    def to_pandas(self) -> Any:
        """Return one row per layer: layer, within, between, gain, p."""
        import pandas as pd

        columns = {"within": self.within, "between": self.between, "gain": self.gain, "p": self.p}
        return pd.DataFrame({"layer": self.layers, **columns})


def routing_overlap(first: Routing, second: Routing) -> RoutingOverlap:
    """Compare the routing of two prompts, layer by layer.

    Parameters
    ----------
    first, second
        Routings of one model.

    Returns
    -------
    RoutingOverlap

    Raises
    ------
    LabError
        If they are of different models, or one has no token.
    """
    RoutingPool([first, second])  # refuses different models
    pools = RoutingPool(first), RoutingPool(second)
    one, two = (_loads(pool) for pool in pools)
    used = (one > 0) & (two > 0), (one > 0) | (two > 0)
    return RoutingOverlap(
        layers=pools[0].layers,
        tokens=(pools[0].tokens, pools[1].tokens),
        load=np.minimum(one, two).sum(axis=1),
        experts=used[0].sum(axis=1) / used[1].sum(axis=1),
        bits=jensen_shannon(one, two),
        aligned=_aligned(*pools) if pools[0].tokens == pools[1].tokens else None,
    )


def routing_stability(
    paraphrases: Sequence[Sequence[Routing]], *, permutations: int = 1_000, seed: int = 0
) -> RoutingStability:
    """Test whether paraphrases are routed more alike than other prompts.

    Prompts of one meaning share words and length, too, so the measure is a difference: load overlap within a
    meaning minus that between meanings. It is tested by permuting the meanings among the prompts, with the
    largest difference over the layers as the statistic (Westfall and Young 1993), so p bounds the probability
    of any false layer. The test does not explain the difference: paraphrases that share words are routed
    alike because their tokens are.

    Parameters
    ----------
    paraphrases
        One sequence of routings per meaning; at least two meanings, and two prompts of at least one of them.
    permutations
        Number of permutations of the meanings.
    seed
        Of the permutations.

    Returns
    -------
    RoutingStability

    Raises
    ------
    LabError
        If there are too few meanings or prompts, or the routings are of different models.
    """
    parts = [part for meaning in paraphrases for part in meaning]
    meaning = np.repeat(np.arange(len(paraphrases)), [len(group) for group in paraphrases])
    if len(paraphrases) < 2 or all(len(group) < 2 for group in paraphrases):
        raise LabError(
            f"{len(parts)} prompts of {len(paraphrases)} meanings are too few.",
            hint="Give at least two meanings, and at least two prompts of one of them.",
        )
    layers = RoutingPool(parts).layers
    loads = np.stack([_loads(RoutingPool(part)) for part in parts])
    first, second = np.triu_indices(len(parts), k=1)
    overlaps = np.minimum(loads[first], loads[second]).sum(axis=2)  # [pairs, layers]
    within, between = _means(overlaps, meaning[first] == meaning[second])
    random = np.random.default_rng(seed)
    maxima = np.empty(permutations)
    for number in range(permutations):
        permuted = random.permutation(meaning)
        near, far = _means(overlaps, permuted[first] == permuted[second])
        maxima[number] = (near - far).max()
    reached = permutations - np.searchsorted(np.sort(maxima), within - between - 1e-12, side="left")
    return RoutingStability(
        layers=layers,
        meanings=len(paraphrases),
        prompts=len(parts),
        within=within,
        between=between,
        p=(1 + reached) / (1 + permutations),
        permutations=permutations,
        seed=seed,
    )


def _loads(pool: RoutingPool) -> Floats:
    rows = [choice_counts(pool.ids(row), pool.experts) for row in range(len(pool.layers))]
    return np.stack(rows) / float(pool.tokens * pool.top_k)


def _aligned(one: RoutingPool, two: RoutingPool) -> Floats:
    rows = []
    for row in range(len(one.layers)):
        common = (one.ids(row)[:, :, None] == two.ids(row)[:, None, :]).sum(axis=(1, 2))
        rows.append((common / (2 * one.top_k - common)).mean())
    return np.asarray(rows)


def _means(overlaps: Floats, same: NDArray[np.bool]) -> tuple[Floats, Floats]:
    return overlaps[same].mean(axis=0), overlaps[~same].mean(axis=0)

"""Expert contrast: experts used more in some runs than in others, e.g. where the answer is right."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ...checks import whole_number
from ...display import Displayed
from ...errors import LabError
from .expert_set import ExpertSet, top_experts
from .routing_pool import RoutingPool
from .specialisation import check_permutations

if TYPE_CHECKING:
    from ...trace.records.routing import Routing

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class ExpertContrast(Displayed):
    """Use of every expert in one group of runs compared with another.

    Attributes
    ----------
    layers
        The model's layer index of each row.
    names
        Of the two groups.
    runs
        Number of runs in each group; the same number of pairs if `paired`.
    use
        Mean gate weight of each expert per token, 0 where it is not chosen, ``[2, layers, experts]``.
    score
        Difference of the two in standard errors over runs, ``[layers, experts]``: t of the paired test, or
        of Welch's.
    p
        Probability of an absolute score this large *anywhere* in the table by chance, ``[layers, experts]``.
    paired
        Whether run i of the one group is the counterpart of run i of the other.
    alpha
        Family-wise error rate of `found`.
    permutations, seed
        Of the baseline; permutations are all that there are if no more were asked for.
    """

    layers: tuple[int, ...]
    names: tuple[str, str]
    runs: tuple[int, int]
    use: Floats
    score: Floats
    p: Floats
    paired: bool
    alpha: float
    permutations: int
    seed: int

    @property
    def difference(self) -> Floats:
        """Mean gate weight per token in the first group minus the second, ``[layers, experts]``."""
        return np.asarray(self.use[0] - self.use[1])

    @property
    def found(self) -> NDArray[np.bool]:
        """The differences that exceed chance, ``[layers, experts]``: `p` ≤ `alpha`."""
        return np.asarray(self.p <= self.alpha)

    def __repr__(self) -> str:
        rows, experts = self.score.shape
        what = f"{self.runs[0]} pairs" if self.paired else f"{self.runs[0]} and {self.runs[1]} runs"
        more = int((self.found & (self.score > 0)).sum())
        return (
            f"ExpertContrast({self.names[0]} and {self.names[1]}, {what}, {rows} layers × {experts} experts: "
            f"{more} used more and {int(self.found.sum()) - more} less than by chance, family-wise "
            f"{self.alpha:.0%}, {self.permutations:,} permutations)"
        )

    def top_experts(self, count: int) -> ExpertSet:
        """Return the experts with the highest scores of the first group, to be tested by an ablation.

        Raises
        ------
        LabError
            If fewer experts are used more in the first group.
        """
        name = f"experts of {self.names[0]} against {self.names[1]}"
        return top_experts(self.score, self.layers, count, statistic=name)

    def to_pandas(self) -> Any:
        """Return one row per expert, highest score first: layer, expert, first, second, score, p."""
        import pandas as pd

        rows, experts = self.score.shape
        frame = pd.DataFrame({
            "layer": np.repeat(self.layers, experts), "expert": np.tile(np.arange(experts), rows),
            "first": self.use[0].ravel(), "second": self.use[1].ravel(), "score": self.score.ravel(),
            "p": self.p.ravel(),
        })  # fmt: skip
        return frame.sort_values("score", ascending=False, kind="stable", ignore_index=True)


def expert_contrast(
    first: Sequence[Routing],
    second: Sequence[Routing],
    *,
    names: tuple[str, str] = ("the first", "the second"),
    paired: bool = False,
    permutations: int = 500,
    alpha: float = 0.05,
    seed: int = 0,
) -> ExpertContrast:
    """Compare how much every expert is used in two groups of runs.

    The contrast of Bandarkar et al. 2026 (arXiv:2603.17102): questions asked in languages in which the model
    answers right, against the same questions where it fails, single out experts that the answers may depend
    on. They compare router logits; this compares the gate weights that were applied, which is what a trace
    holds. Scores are corrected for the number of experts by the largest score of every permutation (Westfall
    and Young 1993): group labels are permuted among runs, or exchanged within pairs. Where there are no more
    ways to do so than `permutations`, each is taken once, so that p is exact.

    Parameters
    ----------
    first, second
        Routings of the runs of each group; select tokens with `Routing.select`, e.g. the last of the prompt.
    names
        Of the groups, e.g. ``("right", "wrong")``.
    paired
        Whether run i of both groups is the same question, e.g. in two languages. What depends on the
        question then cancels out.
    permutations, seed
        Of the baseline.
    alpha
        Family-wise error rate.

    Returns
    -------
    ExpertContrast

    Raises
    ------
    LabError
        If a group has fewer than two runs, pairs do not match, the routings are of different models, or the
        runs are too few for any p ≤ `alpha`.
    """
    check_permutations(whole_number("permutations", permutations, minimum=1), alpha)
    counts = (len(first), len(second))
    if min(counts) < 2 or (paired and counts[0] != counts[1]):
        raise LabError(
            f"The groups have {counts[0]} and {counts[1]} runs.",
            hint="Two runs each at least" + (", as many in both groups for pairs." if paired else "."),
        )
    ways = _ways(counts, paired=paired, alpha=alpha)
    pool = RoutingPool([*first, *second])
    use = np.stack([_use(one) for one in pool.parts])
    runs = np.arange(len(use))
    inside = runs < counts[0]
    exact = ways <= permutations
    random = np.random.default_rng(seed)
    if paired:
        differences = use[inside] - use[~inside]
        score = _paired(differences, np.ones(counts[0]))
        signs = (
            map(np.array, itertools.product((1.0, -1.0), repeat=counts[0])) if exact
            else (random.choice((-1.0, 1.0), counts[0]) for _ in range(permutations))
        )  # fmt: skip
        drawn = [_paired(differences, one) for one in signs]
    else:
        score = _welch(use, inside)
        groups = (
            (np.isin(runs, chosen) for chosen in itertools.combinations(runs, counts[0]))
            if exact else (random.permutation(inside) for _ in range(permutations))
        )  # fmt: skip
        drawn = [_welch(use, one) for one in groups]
    maxima = np.sort([float(np.abs(one).max()) for one in drawn])
    reached = len(maxima) - np.searchsorted(maxima, np.abs(score) * (1 - 1e-9), side="left")
    return ExpertContrast(
        layers=pool.layers, names=(str(names[0]), str(names[1])), runs=counts,
        use=np.stack([use[inside].mean(axis=0), use[~inside].mean(axis=0)]), score=score,
        # all ways include that of the runs themselves; to random ones it is added
        p=reached / ways if exact else (1 + reached) / (1 + permutations),
        paired=paired, alpha=alpha, permutations=len(maxima), seed=seed,
    )  # fmt: skip


def _ways(counts: tuple[int, int], *, paired: bool, alpha: float) -> int:
    """Return the number of ways to exchange pairs or to permute labels; raise if none can reach `alpha`.

    The mirrored one has the same absolute scores, where there is one.
    """
    ways = 2 ** counts[0] if paired else math.comb(sum(counts), counts[0])
    least = (2 if paired or counts[0] == counts[1] else 1) / ways
    if least > alpha:
        runs = f"{counts[0]} pairs have" if paired else f"{counts[0]} and {counts[1]} runs have"
        raise LabError(
            f"{runs} {ways} permutations, so that no p value is below {least:.3g}; alpha is {alpha}.",
            hint="Take more runs, or a larger alpha.",
        )
    return ways


def _use(routing: Routing) -> Floats:
    """Return the mean gate weight per token of every expert, ``[layers, experts]``."""
    layers, tokens, _ = routing.ids.shape
    total = np.zeros((layers, routing.experts))
    rows = np.arange(layers)[:, None, None]
    np.add.at(total, (rows, np.asarray(routing.ids, dtype=np.intp)), np.asarray(routing.gate_weights))
    mean: Floats = total / tokens
    return mean


def _paired(differences: Floats, signs: Floats) -> Floats:
    """Return t of paired differences ``[pairs, layers, experts]`` under a choice of signs."""
    count = len(differences)
    mean = np.tensordot(signs, differences, axes=1) / count
    variance = ((differences**2).sum(axis=0) - count * mean**2) / (count - 1)  # signs leave the squares
    return _ratio(mean, variance / count)


def _welch(use: Floats, inside: NDArray[np.bool]) -> Floats:
    """Return Welch's t of two groups of runs, ``[layers, experts]``."""
    groups = use[inside], use[~inside]
    variance = sum(one.var(axis=0, ddof=1) / len(one) for one in groups)
    return _ratio(groups[0].mean(axis=0) - groups[1].mean(axis=0), np.asarray(variance))


def _ratio(difference: Floats, variance: Floats) -> Floats:
    """Return a difference in standard errors; 0 for experts that are not used in any run."""
    floor = 1e-12  # a difference without any spread over runs has no t
    spread = np.sqrt(np.maximum(variance, 0))
    return np.asarray(np.divide(difference, spread, out=np.zeros_like(difference), where=spread > floor))

"""Expert specialisation: experts chosen more often for some labels of tokens, tested against chance."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ...display import Displayed
from ...errors import LabError
from .expert_set import ExpertSet, top_experts
from .load import entropy_bits
from .permutation import Counts, LabelPermutation
from .routing_pool import RoutingPool

if TYPE_CHECKING:
    from ...trace.records.routing import Routing

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Specialisation(Displayed):
    """Rates of each expert by label of tokens, and the differences that exceed chance.

    Attributes
    ----------
    layers, labels
        The model's layer index of each row; the labels, sorted.
    sizes
        Tokens of each label, ``[labels]``.
    rate
        Fraction of a label's tokens that chose each expert, ``[labels, layers, experts]``.
    overall
        The same over all tokens, ``[layers, experts]``.
    score
        Difference of `rate` from `overall` in standard deviations under permuted labels,
        ``[labels, layers, experts]``.
    p
        Probability of a score this large *anywhere* in the table by chance, ``[labels, layers, experts]``,
        i.e. corrected for all comparisons (see `specialisation`).
    information
        Mutual information of label and chosen expert, ``[layers]``, bits per choice.
    information_by_chance, information_limit
        Its mean and its (1 − `alpha`) quantile under permuted labels, ``[layers]``, bits. Mutual information
        of finite samples is positive, so only what exceeds the limit is structure.
    alpha
        Family-wise error rate of `found`.
    permutations, seed, unit
        Of the baseline; `unit` is what labels were permuted among: ``"token"``, ``"group"``, or
        ``"prompt"`` for a survey.
    """

    layers: tuple[int, ...]
    labels: tuple[str, ...]
    sizes: Counts
    rate: Floats
    overall: Floats
    score: Floats
    p: Floats
    information: Floats
    information_by_chance: Floats
    information_limit: Floats
    alpha: float
    permutations: int
    seed: int
    unit: str

    def __repr__(self) -> str:
        labels, layers, experts = self.rate.shape
        return (
            f"Specialisation({labels} labels × {layers} layers × {experts} experts, "
            f"{int(self.sizes.sum()):,} tokens: {int(self.found.sum()):,} of {self.rate.size:,} differences "
            f"beyond chance, family-wise {self.alpha:.0%}, "
            f"{self.permutations:,} permutations of {self.unit}s)"
        )

    @property
    def found(self) -> NDArray[np.bool]:
        """The differences that exceed chance, ``[labels, layers, experts]``: `p` ≤ `alpha`."""
        return np.asarray(self.p <= self.alpha)

    @property
    def lift(self) -> Floats:
        """`rate` ÷ `overall`, ``[labels, layers, experts]``: 2 is twice as often; NaN if unused."""
        overall = np.broadcast_to(self.overall, self.rate.shape)
        empty = np.full(self.rate.shape, np.nan)
        return np.asarray(np.divide(self.rate, overall, out=empty, where=overall > 0))

    @property
    def excess(self) -> Floats:
        """Information above its mean by chance, ``[layers]``, bits per choice; may be slightly negative."""
        return self.information - self.information_by_chance

    def top_experts(self, count: int, *, label: str) -> ExpertSet:
        """Return the experts with the highest scores for a label, to be tested by an ablation.

        Parameters
        ----------
        count
            Number of experts, over all layers.
        label
            One of `labels`.

        Raises
        ------
        LabError
            If there is no such label, or fewer experts are chosen more often for it than overall.
        """
        if label not in self.labels:
            raise LabError(f"There is no label {label!r}.", hint=f"There are {', '.join(self.labels)}.")
        score = self.score[self.labels.index(label)]
        return top_experts(score, self.layers, count, statistic=f"{label} specialists")

    def to_pandas(self, *, only_found: bool = True) -> Any:
        """Return one row per difference, strongest first: label, layer, expert, rate, lift, score, p, ….

        Parameters
        ----------
        only_found
            Leave out differences within chance.
        """
        import pandas as pd

        keep = self.found if only_found else np.ones_like(self.found)
        label, row, expert = np.nonzero(keep)
        frame = pd.DataFrame(
            {
                "label": np.asarray(self.labels, dtype=object)[label],
                "layer": np.asarray(self.layers)[row],
                "expert": expert,
                "rate": self.rate[keep],
                "overall": self.overall[row, expert],
                "lift": self.lift[keep],
                "score": self.score[keep],
                "p": self.p[keep],
            }
        )
        return frame.sort_values("score", key=abs, ascending=False, kind="stable", ignore_index=True)


def specialisation(
    routing: Routing | Sequence[Routing],
    labels: Sequence[Any] | NDArray[Any],
    *,
    groups: Sequence[Any] | NDArray[Any] | None = None,
    permutations: int = 500,
    alpha: float = 0.05,
    seed: int = 0,
) -> Specialisation:
    """Compare the routing of tokens with different labels, with a permutation baseline.

    The rate of a label and expert is the domain specialisation of Muennighoff et al. 2024 (*OLMoE*,
    arXiv:2409.02060, section 5.3), over all k choices. With 128 experts, 30 layers and a few labels there are
    over ten thousand rates, and many stand out by chance. Findings are determined by the single-step maxT
    procedure (Westfall and Young 1993, *Resampling-Based Multiple Testing*): labels are permuted, the largest
    absolute score of the table is recorded, and an observed score counts if at most `alpha` of those
    maxima reach it: ``p = (1 + #{maxima ≥ |score|}) / (1 + permutations)``. This bounds the probability of
    *any* false finding by `alpha`, under any dependence between experts and layers.

    It assumes that without specialisation any unit could have had any label. Neighbouring tokens are alike in
    routing and usually in label; permuted one by one, they make chance look smaller than it is. Where a label
    belongs to a prompt or sentence (a language, a domain), pass `groups`.

    Parameters
    ----------
    routing
        Of a trace, or of several of one model.
    labels
        One per token, over all routings in order: languages, modalities, roles, ….
    groups
        One per token: the prompt or sentence whose tokens keep a common label. Default: each token by
        itself.
    permutations
        Number of permutations. 500 take about half a second for 2,000 tokens of six layers, top-8.
    alpha
        Family-wise error rate.
    seed
        Of the permutations.

    Returns
    -------
    Specialisation

    Raises
    ------
    LabError
        If labels or groups do not match the tokens, all labels are equal, or there are too few permutations
        for `alpha`.
    """
    check_permutations(permutations, alpha)
    labelled = LabelPermutation(RoutingPool(routing), labels, groups=groups)
    score = _Score(labelled)
    observed = labelled.counts()
    scores, information = score(observed, labelled.codes), mutual_information(observed)
    maxima, chance = np.empty(permutations), np.empty((permutations, len(labelled.pool.layers)))
    for number, codes in enumerate(labelled.permuted(permutations, seed=seed)):
        counts = labelled.counts(codes)
        maxima[number] = np.abs(score(counts, codes)).max()
        chance[number] = mutual_information(counts)
    # a permutation that repeats the observed table must count in spite of rounding
    reached = permutations - np.searchsorted(np.sort(maxima), np.abs(scores) * (1 - 1e-9), side="left")
    sizes = labelled.sizes()
    return Specialisation(
        layers=labelled.pool.layers,
        labels=labelled.names,
        sizes=sizes,
        rate=observed / sizes[:, None, None],
        overall=observed.sum(axis=0) / labelled.pool.tokens,
        score=scores,
        p=(1 + reached) / (1 + permutations),
        information=information,
        information_by_chance=chance.mean(axis=0),
        information_limit=np.quantile(chance, 1 - alpha, axis=0),
        alpha=alpha,
        permutations=permutations,
        seed=seed,
        unit=labelled.unit,
    )


def check_permutations(permutations: int, alpha: float) -> None:
    """Raise `LabError` if `alpha` is no probability, or too few permutations can reach it."""
    if not 0 < alpha < 1:
        raise LabError(f"alpha is {alpha}.", hint="It is a probability between 0 and 1, such as 0.05.")
    if (permutations + 1) * alpha < 1:
        raise LabError(
            f"{permutations} permutations cannot reach p = {alpha}; the smallest p value is "
            f"{1 / (permutations + 1):.3g}.",
            hint=f"Take at least {int(np.ceil(1 / alpha)) - 1}.",
        )


def mutual_information(counts: Counts) -> Floats:
    """Return the mutual information of label and chosen expert, ``[layers]``, bits per choice.

    ``I = H(label) + H(expert) − H(label, expert)`` over all choices (Cover and Thomas 2006, section 2.4).

    Parameters
    ----------
    counts
        ``[labels, layers, experts]``.
    """
    joint = counts.transpose(1, 0, 2) / float(counts[:, 0].sum())
    labels, experts = joint.sum(axis=2), joint.sum(axis=1)
    both = joint.reshape(len(joint), -1)
    return entropy_bits(labels) + entropy_bits(experts) - entropy_bits(both)


class _Score:
    """Difference of a label's choices from its expected choices, in standard deviations.

    A label of n of the N units has the sum of n units drawn without replacement. With x the unit's choices of
    an expert minus its tokens' expected choices at the overall rate, that sum has mean 0 and variance ``n (1
    − n/N) s²``, s² the sample variance of x over the units (Cochran 1977, *Sampling Techniques*, theorem
    2.2). With tokens as units it is the variance of the hypergeometric distribution.
    """

    def __init__(self, labelled: LabelPermutation) -> None:
        self.labelled = labelled
        self.overall = labelled.counts().sum(axis=0) / labelled.pool.tokens
        units = int(labelled.units.sum())
        if labelled.unit == "token":
            squares = labelled.pool.tokens * self.overall * (1 - self.overall)
        else:
            lengths = np.bincount(labelled.member, minlength=units)
            residual = labelled.by_group - lengths[:, None, None] * self.overall
            squares = (residual**2).sum(axis=0)
        variance = squares / max(units - 1, 1)
        drawn = labelled.units * (1 - labelled.units / units)
        self.spread = np.sqrt(drawn[:, None, None] * variance)

    def __call__(self, counts: Counts, codes: NDArray[np.intp]) -> Floats:
        difference = counts - self.labelled.sizes(codes)[:, None, None] * self.overall
        score = np.zeros_like(self.spread)
        return np.asarray(np.divide(difference, self.spread, out=score, where=self.spread > 1e-9))

"""Divergence of the routing of different languages, or other labels, layer by layer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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
class RoutingDivergence(Displayed):
    """Jensen–Shannon divergence between the loads of every two labels, with its value by chance.

    Attributes
    ----------
    layers, labels
        The model's layer index of each row; the labels, sorted.
    sizes
        Tokens of each label, ``[labels]``.
    loads
        Fraction of a label's choices that fell on each expert, ``[labels, layers, experts]``.
    bits
        ``[layers, labels, labels]``, bits per choice, symmetric: 0 is the same load, 1 no common expert.
    by_chance, limit
        Mean and 95 % quantile under permuted labels: the noise floor for samples of these sizes,
        ``[layers, labels, labels]``.
    permutations, seed, unit
        Of the noise floor; `unit` is what labels were permuted among: ``"token"`` or ``"group"`` (a prompt).
    """

    layers: tuple[int, ...]
    labels: tuple[str, ...]
    sizes: Counts
    loads: Floats
    bits: Floats
    by_chance: Floats
    limit: Floats
    permutations: int
    seed: int
    unit: str

    def __repr__(self) -> str:
        upper = np.triu_indices(len(self.labels), k=1)
        mean, floor = self.bits[:, *upper].mean(), self.by_chance[:, *upper].mean()
        return (
            f"RoutingDivergence({len(self.labels)} labels × {len(self.layers)} layers, "
            f"{int(self.sizes.sum()):,} tokens: mean {mean:.3f} bits, by chance {floor:.3f} bits, "
            f"{self.permutations:,} permutations of {self.unit}s)"
        )

    @property
    def beyond_chance(self) -> NDArray[np.bool]:
        """Whether `bits` exceeds `limit`, ``[layers, labels, labels]``.

        Each entry at the 5 % level, not corrected for their number: one pair in twenty of equal languages
        exceeds it.
        """
        return np.asarray(self.bits > self.limit)

    def against(self, reference: str) -> tuple[Floats, Floats]:
        """Return `bits` and `limit` of every label against one of them, ``[labels, layers]`` each.

        Raises
        ------
        LabError
            If there is no such label.
        """
        if reference not in self.labels:
            raise LabError(f"There is no label {reference!r}.", hint=f"There are {', '.join(self.labels)}.")
        column = self.labels.index(reference)
        return self.bits[:, :, column].T, self.limit[:, :, column].T

    def top_experts(self, count: int, *, label: str, reference: str) -> ExpertSet:
        """Return the experts that make up most of a label's divergence from another, for an ablation test.

        An expert's part of the divergence is ``(p log(p / m) + q log(q / m)) / 2``, m the mean of the two
        loads p and q; only experts that the label chooses more often than the reference are taken.

        Parameters
        ----------
        count
            Number of experts, over all layers.
        label, reference
            Two of `labels`.

        Raises
        ------
        LabError
            If there is no such label, or there are fewer such experts.
        """
        for name in (label, reference):
            self.against(name)  # raises for an unknown one
        first, second = (self.loads[self.labels.index(name)] for name in (label, reference))
        part = (_terms(first, second) + _terms(second, first)) / 2
        score = np.where(first > second, part, 0.0)
        return top_experts(
            score, self.layers, count, statistic=f"experts by which {label} differs from {reference}"
        )

    def to_pandas(self) -> Any:
        """Return one row per layer and pair: layer, label, other, bits, by_chance, limit."""
        import pandas as pd

        first, second = np.triu_indices(len(self.labels), k=1)
        names = np.asarray(self.labels, dtype=object)
        pairs = len(first)
        return pd.DataFrame(
            {
                "layer": np.repeat(self.layers, pairs),
                "label": np.tile(names[first], len(self.layers)),
                "other": np.tile(names[second], len(self.layers)),
                "bits": self.bits[:, first, second].ravel(),
                "by_chance": self.by_chance[:, first, second].ravel(),
                "limit": self.limit[:, first, second].ravel(),
            }
        )


def routing_divergence(
    routings: Mapping[str, Routing | Sequence[Routing]], *, permutations: int = 200, seed: int = 0
) -> RoutingDivergence:
    """Compare the loads of several languages, or of other labels.

    A label's load in a layer is the fraction of its choices that fell on each expert. The divergence of two
    loads p and q is ``H((p + q)/2) − (H(p) + H(q))/2`` bits (Lin 1991, *Divergence measures based on the
    Shannon entropy*, IEEE Trans. Inf. Theory 37, 145–151). Bandarkar et al. 2025 (*Multilingual Routing in
    Mixture-of-Experts*, arXiv:2510.04694) follow the same quantity over the layers of parallel text; they use
    the router's mean probabilities and normalise by entropy, this counts the choices and does not.

    Finite samples of the same load have a positive divergence, which grows as samples get shorter. The noise
    floor measures it: labels are permuted among all prompts, or among all tokens if each label has a single
    routing. Tokens of one sentence are alike, so the second floor is too low; pass several prompts per label
    if possible.

    Parameters
    ----------
    routings
        Label → its routing, or the routings of its prompts. Parallel sentences make a fair comparison.
    permutations
        Number of permutations of the labels.
    seed
        Of the permutations.

    Returns
    -------
    RoutingDivergence

    Raises
    ------
    LabError
        If there are fewer than two labels, or the routings are of different models.
    """
    if permutations < 20:
        raise LabError(
            f"{permutations} permutations are too few for a 95 % quantile.", hint="Take at least 20."
        )
    parts: list[Routing] = []
    names: list[str] = []
    for label, routing in routings.items():
        several = list(routing) if isinstance(routing, Sequence) else [routing]
        parts += several
        names += [label] * len(several)
    pool = RoutingPool(parts)
    labels = np.repeat(np.asarray(names, dtype=object), pool.lengths)
    prompts = np.repeat(np.arange(len(parts)), pool.lengths)
    labelled = LabelPermutation(pool, labels, groups=prompts if len(parts) > len(routings) else None)
    chance = np.stack(
        [_pairwise(labelled.counts(codes)) for codes in labelled.permuted(permutations, seed=seed)]
    )
    counts = labelled.counts()
    return RoutingDivergence(
        layers=pool.layers,
        labels=labelled.names,
        sizes=labelled.sizes(),
        loads=counts / counts.sum(axis=2, keepdims=True),
        bits=_pairwise(counts),
        by_chance=chance.mean(axis=0),
        limit=np.quantile(chance, 0.95, axis=0),
        permutations=permutations,
        seed=seed,
        unit=labelled.unit,
    )


def jensen_shannon(first: Floats, second: Floats) -> Floats:
    """Return the Jensen–Shannon divergence along the last axis, in bits (0 to 1)."""
    both = entropy_bits((first + second) / 2) - (entropy_bits(first) + entropy_bits(second)) / 2
    return np.clip(both, 0.0, 1.0)  # rounding can leave the range by a last bit


def _terms(load: Floats, other: Floats) -> Floats:
    """Return each expert's ``load × log2(load / mean)``, 0 where `load` is 0."""
    mean = (load + other) / 2
    ratio = np.divide(load, mean, out=np.ones_like(load), where=load > 0)
    return np.asarray(load * np.log2(ratio))


def _pairwise(counts: Counts) -> Floats:
    """Return the divergence ``[layers, labels, labels]`` of counts ``[labels, layers, experts]``."""
    loads = (counts / counts.sum(axis=2, keepdims=True)).transpose(1, 0, 2)
    result = np.zeros((loads.shape[0], loads.shape[1], loads.shape[1]))
    for label in range(loads.shape[1] - 1):
        apart = jensen_shannon(loads[:, label, None], loads[:, label + 1 :])
        result[:, label, label + 1 :] = result[:, label + 1 :, label] = apart
    return result

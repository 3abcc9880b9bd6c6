"""How far apart the routing of different languages (or any kinds of text) is, layer by layer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ...errors import LabError
from .load import entropy_bits
from .permutation import Counts, LabelPermutation
from .routing_pool import RoutingPool

if TYPE_CHECKING:
    from ...trace.records.routing import Routing

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class RoutingDivergence:
    """Jensen–Shannon divergence between the loads of every two labels, with what chance gives.

    Attributes
    ----------
    layers, labels
        The model's layer index of each row; the labels, sorted.
    sizes
        Tokens of each label, ``[labels]``.
    bits
        ``[layers, labels, labels]``, bits a choice: 0 is the same load, 1 is no expert in common. Symmetric.
    by_chance, limit
        Mean and 95 % quantile of the same when labels are dealt anew: the noise floor of samples of these
        sizes, ``[layers, labels, labels]``.
    permutations, seed, unit
        How the floor was drawn; `unit` is what labels were dealt to: ``"token"`` or ``"group"`` (a prompt).
    """

    layers: tuple[int, ...]
    labels: tuple[str, ...]
    sizes: Counts
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
            f"RoutingDivergence({len(self.labels)} labels × {len(self.layers)} layers, {int(self.sizes.sum()):,} "
            f"tokens: mean {mean:.3f} bits, by chance {floor:.3f} bits, "
            f"{self.permutations:,} permutations of {self.unit}s)"
        )

    @property
    def beyond_chance(self) -> NDArray[np.bool_]:
        """Where `bits` exceeds `limit`, ``[layers, labels, labels]``.

        Each entry by itself at 5 %, not corrected for their number: of many equal languages one pair in
        twenty exceeds it.
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

    def to_pandas(self) -> Any:
        """Return one row a layer and pair: layer, label, other, bits, by_chance, limit."""
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
    """Compare the loads of several languages, or of any other kinds of text.

    A label's load in a layer is the part of its choices that fell on each expert. Two loads p and q are
    ``H((p + q)/2) − (H(p) + H(q))/2`` bits apart (Lin 1991, *RoutingDivergence measures based on the Shannon
    entropy*, IEEE Trans. Inf. Theory 37, 145–151). Bandarkar et al. 2025 (*Multilingual Routing in
    Mixture-of-Experts*, arXiv:2510.04694) follow the same quantity over the layers of parallel text; they
    take the router's mean probabilities and normalise by entropy, this counts the choices and does not.

    Finite samples of one and the same load are never 0 apart, and shorter ones are further apart: with few
    tokens most of a divergence can be noise. The floor says how much: labels are dealt anew among all
    prompts, or among all tokens where each label has a single routing. Tokens of one sentence are alike, so
    the second floor is too low; give several prompts a label where you can.

    Parameters
    ----------
    routings
        Label → its routing, or the routings of its prompts. Parallel sentences make the comparison fair.
    permutations
        Times the labels are dealt anew.
    seed
        Of the permutations.

    Raises
    ------
    LabError
        If there are fewer than two labels, or the routings are of different models.
    """
    if permutations < 20:
        raise LabError(f"{permutations} permutations show no 95 % quantile.", hint="Take at least 20.")
    parts: list[Routing] = []
    names: list[str] = []
    for label, given in routings.items():
        several = list(given) if isinstance(given, Sequence) else [given]
        parts += several
        names += [label] * len(several)
    pool = RoutingPool(parts)
    labels = np.repeat(np.asarray(names, dtype=object), pool.lengths)
    prompts = np.repeat(np.arange(len(parts)), pool.lengths)
    dealt = LabelPermutation(pool, labels, groups=prompts if len(parts) > len(routings) else None)
    chance = np.stack([_pairwise(dealt.counts(codes)) for codes in dealt.permuted(permutations, seed=seed)])
    return RoutingDivergence(
        layers=pool.layers,
        labels=dealt.names,
        sizes=dealt.sizes(),
        bits=_pairwise(dealt.counts()),
        by_chance=chance.mean(axis=0),
        limit=np.quantile(chance, 0.95, axis=0),
        permutations=permutations,
        seed=seed,
        unit=dealt.unit,
    )


def jensen_shannon(first: Floats, second: Floats) -> Floats:
    """Return the Jensen–Shannon divergence along the last axis, in bits (0 to 1); see `divergence`."""
    both = entropy_bits((first + second) / 2) - (entropy_bits(first) + entropy_bits(second)) / 2
    return np.clip(both, 0.0, 1.0)  # rounding can leave the range by a last bit


def _pairwise(counts: Counts) -> Floats:
    """Return the divergence ``[layers, labels, labels]`` of counts ``[labels, layers, experts]``."""
    loads = (counts / counts.sum(axis=2, keepdims=True)).transpose(1, 0, 2)
    result = np.zeros((loads.shape[0], loads.shape[1], loads.shape[1]))
    for label in range(loads.shape[1] - 1):
        apart = jensen_shannon(loads[:, label, None], loads[:, label + 1 :])
        result[:, label, label + 1 :] = result[:, label + 1 :, label] = apart
    return result

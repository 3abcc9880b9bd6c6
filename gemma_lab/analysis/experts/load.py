"""Expert load: counts, imbalance, entropy, unused experts."""

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


@dataclass(frozen=True, eq=False)
class ExpertLoad(Displayed):
    """Load of every expert; rows are layers, in the order of `layers`.

    Attributes
    ----------
    layers
        The model's layer index of each row.
    tokens, top_k
        Number of tokens, and experts per token.
    counts
        Times each expert was chosen, ``[layers, experts]``. A row sums to ``tokens × top_k``.
    mass
        Sum of the gate weights (renormalised top-k weights, before the per-expert scale) of each expert,
        ``[layers, experts]``, in tokens: a row sums to `tokens`.
    router_entropy
        Mean over tokens of the entropy of the router's full distribution, ``[layers]``, nats.
    expert_output_fraction
        Mean over tokens of the experts' fraction of the feed-forward output, ``[layers]``.

    Notes
    -----
    `mass`, `router_entropy` and `expert_output_fraction` are NaN where only ids are known: of a server's
    routing, and of a survey by label.
    """

    layers: tuple[int, ...]
    tokens: int
    top_k: int
    counts: NDArray[np.int64]
    mass: Floats
    router_entropy: Floats
    expert_output_fraction: Floats

    def __repr__(self) -> str:
        rows, experts = self.counts.shape
        return (
            f"ExpertLoad({rows} layers × {experts} experts, {self.tokens:,} tokens, top-{self.top_k}: "
            f"busiest expert {self.peak.max():.1f} × the mean, "
            f"{int(self.never_used.sum()):,} of {rows * experts:,} never used)"
        )

    @property
    def experts(self) -> int:
        """Experts per layer."""
        return int(self.counts.shape[1])

    @property
    def share(self) -> Floats:
        """Fraction of a layer's choices that fell on each expert, ``[layers, experts]``; a row sums to 1."""
        return self.counts / float(self.tokens * self.top_k)

    @property
    def rate(self) -> Floats:
        """Fraction of the tokens that chose each expert, ``[layers, experts]``; a row sums to `top_k`."""
        return self.counts / float(self.tokens)

    def top_experts(self, count: int) -> ExpertSet:
        """Return the busiest experts of all layers, to be tested by `gemma_lab.evals.ablate_experts`.

        Raises
        ------
        LabError
            If fewer experts were chosen at all.
        """
        return top_experts(self.counts, self.layers, count, statistic="busiest experts")

    @property
    def peak(self) -> Floats:
        """Load of the busiest expert ÷ mean load, ``[layers]``; 1 if all are equal.

        With one expert per device it determines how long the slowest device takes (Fedus et al. 2022, *Switch
        Transformers*, arXiv:2101.03961, where the capacity factor has to cover it).
        """
        return np.asarray(self.counts.max(axis=1) / self.counts.mean(axis=1))

    @property
    def variation(self) -> Floats:
        """Coefficient of variation, ``[layers]``: standard deviation ÷ mean of the loads; 0 if all are equal.

        The measure of Shazeer et al. 2017 (arXiv:1701.06538), whose load-balancing loss is its square.
        """
        return np.asarray(self.counts.std(axis=1) / self.counts.mean(axis=1))

    @property
    def gini(self) -> Floats:
        """Gini coefficient of the loads, ``[layers]``: 0 if all are equal, (E − 1)/E if one expert has all.

        Half the mean absolute difference of two experts' loads ÷ the mean load, computed from the sorted
        loads: ``Σ (2i − E − 1) x_i ÷ (E Σ x_i)``, i from 1 (Gini 1912; Sen 1973, *On Economic Inequality*).
        """
        ordered = np.sort(self.counts, axis=1)
        weights = 2 * np.arange(1, self.experts + 1) - self.experts - 1
        return np.asarray((ordered @ weights) / (self.experts * ordered.sum(axis=1)))

    @property
    def load_entropy(self) -> Floats:
        """Entropy of the load distribution, ``[layers]``, bits; log₂ E if all are equal (Shannon 1948)."""
        return entropy_bits(self.share)

    @property
    def never_used(self) -> NDArray[np.bool]:
        """Experts that no token chose, ``[layers, experts]``.

        In a short trace many are unused by chance: with equal loads T tokens miss an expert with probability
        (1 − k/E)^T; see `expected_unused`.
        """
        return np.asarray(self.counts == 0)

    @property
    def expected_unused(self) -> float:
        """Expected number of unused experts in a layer of equal loads: ``E (1 − k/E)^T``."""
        return float(self.experts * (1 - self.top_k / self.experts) ** self.tokens)

    def to_pandas(self) -> Any:
        """Return one row per layer and expert: layer, expert, count, share, rate, mass."""
        import pandas as pd

        rows, experts = self.counts.shape
        return pd.DataFrame(
            {
                "layer": np.repeat(self.layers, experts),
                "expert": np.tile(np.arange(experts), rows),
                "count": self.counts.ravel(),
                "share": self.share.ravel(),
                "rate": self.rate.ravel(),
                "mass": self.mass.ravel(),
            }
        )

    def by_layer(self) -> Any:
        """Return one row per layer with every measure of imbalance, as a pandas frame."""
        import pandas as pd

        return pd.DataFrame(
            {
                "layer": self.layers,
                "variation": self.variation,
                "gini": self.gini,
                "peak": self.peak,
                "load_entropy_bits": self.load_entropy,
                "never_used": self.never_used.sum(axis=1),
                "router_entropy_nats": self.router_entropy,
                "expert_output_fraction": self.expert_output_fraction,
            }
        )


def expert_load(routing: Routing | Sequence[Routing]) -> ExpertLoad:
    """Count the load of every expert.

    Parameters
    ----------
    routing
        Of a trace, or of several of one model.

    Returns
    -------
    ExpertLoad

    Raises
    ------
    LabError
        If there is no token, or the routings are of different models.
    """
    pool = RoutingPool(routing)
    counts = np.stack([choice_counts(pool.ids(row), pool.experts) for row in range(len(pool.layers))])
    if not all(part.has_weights for part in pool.parts):  # ids that a server reported
        unknown = np.full(len(pool.layers), np.nan)
        return ExpertLoad(
            layers=pool.layers, tokens=pool.tokens, top_k=pool.top_k, counts=counts,
            mass=np.full(counts.shape, np.nan), router_entropy=unknown, expert_output_fraction=unknown,
        )  # fmt: skip
    gate_weights = pool.column("gate_weights")
    mass = [
        np.bincount(pool.ids(row).ravel(), weights=gate_weights[row].ravel(), minlength=pool.experts)
        for row in range(len(pool.layers))
    ]
    return ExpertLoad(
        layers=pool.layers,
        tokens=pool.tokens,
        top_k=pool.top_k,
        counts=counts,
        mass=np.stack(mass),
        router_entropy=pool.column("entropy").mean(axis=1, dtype=np.float64),
        expert_output_fraction=pool.column("expert_output_fraction").mean(axis=1, dtype=np.float64),
    )


def entropy_bits(distribution: Floats) -> Floats:
    """Return the entropy along the last axis, in bits; 0 log 0 is 0."""
    logs = np.log2(distribution, out=np.zeros_like(distribution), where=distribution > 0)
    return np.asarray(-(distribution * logs).sum(axis=-1))

"""Routing flips: token–expert slots that two runs over the same tokens give to different experts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from ...checks import type_name
from ...display import Displayed
from ...errors import LabError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ...trace.records.routing import Routing

    Floats = NDArray[np.float64]

#: Tokens that are compared at once; a dense table of gate weights has this many rows.
_BLOCK = 4096
#: Pairings of tokens with other tokens from which `RoutingFlips.chance_weight` is estimated.
_SHIFTS = 8


@dataclass(frozen=True, eq=False)
class RoutingFlips(Displayed):
    """Routing flips of each layer and token; L layers, T tokens.

    A token has k slots per layer, one per chosen expert. A slot is flipped if its expert is chosen in one run
    only.

    Attributes
    ----------
    layers
        The layers with experts.
    flipped
        Fraction of each token's slots whose expert the other run did not choose, ``[L, T]``.
    weight
        Gate weight that is on other experts than in the first run, ``[L, T]``, 0 to 1: half the sum of the
        absolute differences of the normalised gate weights (total variation distance).
    chance
        Expected `flipped` if tokens were paired with other tokens of the other run, ``[L]``.
    chance_weight
        Mean `weight` of tokens paired with other tokens, over eight pairings, ``[L]``.
    top_k
        Slots per token.
    """

    layers: tuple[int, ...]
    flipped: Floats = field(repr=False)
    weight: Floats = field(repr=False)
    chance: Floats = field(repr=False)
    chance_weight: Floats = field(repr=False)
    top_k: int = 0

    @property
    def by_layer(self) -> Floats:
        """Mean of `flipped` over the tokens, ``[L]``."""
        return np.asarray(self.flipped.mean(axis=1))

    @property
    def weight_by_layer(self) -> Floats:
        """Mean of `weight` over the tokens, ``[L]``."""
        return np.asarray(self.weight.mean(axis=1))

    @property
    def mean(self) -> float:
        """Fraction of all slots that are flipped."""
        return float(self.flipped.mean())

    def __len__(self) -> int:
        """Return the number of tokens."""
        return int(self.flipped.shape[1])

    def select(self, tokens: Any) -> RoutingFlips:
        """Return the flips of some tokens, a slice, a boolean mask or indices; chance stays that of all."""
        return RoutingFlips(
            self.layers,
            self.flipped[:, tokens],
            self.weight[:, tokens],
            self.chance,
            self.chance_weight,
            self.top_k,
        )

    def to_pandas(self) -> Any:
        """Return one row per layer: layer, flipped, weight, chance, chance_weight."""
        import pandas as pd

        return pd.DataFrame(
            {
                "layer": self.layers,
                "flipped": self.by_layer,
                "weight": self.weight_by_layer,
                "chance": self.chance,
                "chance_weight": self.chance_weight,
            }
        )

    def __repr__(self) -> str:
        most = int(np.argmax(self.by_layer))
        return (
            f"RoutingFlips({len(self.layers)} layers × {len(self):,} tokens: {self.mean:.1%} of slots "
            f"flipped, most in layer {self.layers[most]} ({self.by_layer[most]:.1%}); by chance "
            f"{self.chance.mean():.1%})"
        )


def routing_flips(first: Routing | Sequence[Routing], second: Routing | Sequence[Routing]) -> RoutingFlips:
    """Compare the routing of two runs over the same tokens.

    Parameters
    ----------
    first, second
        The routing of each run, or of several runs in the same order; token *i* of one is token *i* of the
        other.

    Returns
    -------
    RoutingFlips

    Raises
    ------
    LabError
        If layers, experts or tokens differ, or there are no tokens.

    Examples
    --------
    >>> plain = lab.trace("What is 7 in German?")
    >>> ablated = lab.trace("What is 7 in German?", edit=gl.Edit(ablate_experts={3: [17]}))
    >>> gl.analysis.routing_flips(plain.routing, ablated.routing)
    """
    one, two = _listed(first), _listed(second)
    _check(one, two)
    layers, experts = one[0].layers, one[0].experts
    k = max(one[0].top_k, two[0].top_k)
    flipped, weight, chance, chance_weight = [], [], [], []
    for layer in layers:
        left, right = (_slots(part, layer) for part in (one, two))
        here = [_distances(left, right, shift=0, experts=experts, k=k)]
        count = len(left[0])
        others = [
            _distances(left, right, shift=shift, experts=experts, k=k)[1]
            for shift in range(1, min(_SHIFTS, count - 1) + 1)
        ]
        flipped.append(here[0][0])
        weight.append(here[0][1])
        chance.append(_chance(left[0], right[0], experts=experts, k=k))
        chance_weight.append(float(np.mean(others)) if others else float("nan"))
    return RoutingFlips(
        layers, np.stack(flipped), np.stack(weight), np.asarray(chance), np.asarray(chance_weight), k
    )


def _listed(routing: Routing | Sequence[Routing]) -> list[Routing]:
    return list(routing) if isinstance(routing, Sequence) else [routing]


def _check(one: list[Routing], two: list[Routing]) -> None:
    from ...trace.records.routing import Routing

    for each in [*one, *two]:
        if not isinstance(each, Routing):
            raise LabError(
                f"routing_flips takes routing records, not {type_name(each)}.",
                hint="trace.routing is one; it is None for a model without experts.",
            )
    shapes = {(part.layers, part.experts) for part in [*one, *two]}
    if len(shapes) > 1:
        raise LabError(
            "The runs are of models with different layers or experts.",
            hint="Compare runs of one architecture.",
        )
    lengths = [[len(part) for part in side] for side in (one, two)]
    if lengths[0] != lengths[1] or not sum(lengths[0]):
        raise LabError(
            f"The runs have {sum(lengths[0]):,} and {sum(lengths[1]):,} tokens.",
            hint="Both must be of the same tokens; routing.select(slice(0, n)) cuts one.",
        )


def _slots(parts: list[Routing], layer: int) -> tuple[NDArray[Any], NDArray[np.float32]]:
    """Return expert ids and normalised gate weights of one layer, both ``[T, k]``."""
    chosen = [part.layer(layer) for part in parts]
    ids = np.concatenate([part.ids[0] for part in chosen]).astype(np.int64)
    weights = np.concatenate([part.gate_weights[0] for part in chosen])
    return ids, weights / np.maximum(weights.sum(axis=1, keepdims=True), np.float32(1e-12))


def _distances(
    left: tuple[NDArray[Any], NDArray[np.float32]],
    right: tuple[NDArray[Any], NDArray[np.float32]],
    *,
    shift: int,
    experts: int,
    k: int,
) -> tuple[Floats, Floats]:
    """Return the flipped fraction and the moved weight of each token; `shift` pairs it with a later one."""
    ids, weights = (np.roll(each, -shift, axis=0) for each in right)
    flipped, moved = [], []
    for start in range(0, len(ids), _BLOCK):
        part = slice(start, start + _BLOCK)
        one = _dense(left[0][part], left[1][part], experts)
        two = _dense(ids[part], weights[part], experts)
        common = np.logical_and(_chosen(left[0][part], experts), _chosen(ids[part], experts)).sum(axis=1)
        flipped.append(1 - common / k)
        moved.append(np.minimum(np.abs(one - two).sum(axis=1, dtype=np.float64) / 2, 1.0))
    return np.concatenate(flipped), np.concatenate(moved)


def _dense(ids: NDArray[Any], weights: NDArray[np.float32], experts: int) -> NDArray[np.float32]:
    table = np.zeros((len(ids), experts), dtype=np.float32)
    np.put_along_axis(table, ids, weights, axis=1)
    return table


def _chosen(ids: NDArray[Any], experts: int) -> NDArray[np.bool_]:
    table = np.zeros((len(ids), experts), dtype=bool)
    np.put_along_axis(table, ids, True, axis=1)
    return table


def _chance(left: NDArray[Any], right: NDArray[Any], *, experts: int, k: int) -> float:
    """Return the mean flipped fraction over all pairs of different tokens, from how often experts occur."""
    count = len(left)
    if count < 2:
        return float("nan")
    loads = [np.bincount(ids.ravel(), minlength=experts).astype(float) for ids in (left, right)]
    same = sum(
        int(
            np.logical_and(
                _chosen(left[start : start + _BLOCK], experts),
                _chosen(right[start : start + _BLOCK], experts),
            ).sum()
        )
        for start in range(0, count, _BLOCK)
    )
    common = (loads[0] @ loads[1] - same) / (count * (count - 1))
    return float(1 - common / k)

"""Matched random sets: what an ablated set of experts or heads is compared with."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

if TYPE_CHECKING:
    from .answer_scores import Array, Components

Match = Literal["size", "load"]

#: Experts nearest in load, of which one replaces each expert: near, and enough to differ between draws.
_NEAREST = 8
#: Draws that are tried for each new set before the sets are taken as exhausted.
_TRIES = 50


def expert_sets(
    chosen: Components, load: Mapping[int, Array], *, draws: int, match: Match, seed: int
) -> list[Components]:
    """Draw sets of other experts, as many per layer.

    Parameters
    ----------
    chosen
        The ablated experts by layer.
    load
        By layer, how often each expert is chosen, ``[experts]``.
    draws
        Number of sets; fewer are returned where fewer different ones are found.
    match
        ``"load"``: each expert is replaced by one of those nearest in load; ``"size"``: by any other.
    seed
        Of the draws.
    """
    random = np.random.default_rng(seed)

    def draw() -> Components:
        return {layer: _others(one, load[layer], match, random) for layer, one in chosen.items()}

    return _different(draw, draws)


def head_sets(
    chosen: Sequence[tuple[int, int]], kinds: Mapping[tuple[int, int], str], *, draws: int, seed: int
) -> list[Components]:
    """Draw sets of other heads, as many per kind of layer; all of them where there are no more than `draws`.

    Parameters
    ----------
    chosen
        Layer and head of the ablated heads.
    kinds
        Kind of layer of every head of the model, e.g. ``"local"``.
    draws, seed
        Number of sets at most, and seed of the draws.
    """
    random = np.random.default_rng(seed)
    wanted = {kind: sum(kinds[head] == kind for head in chosen) for kind in dict.fromkeys(kinds.values())}
    others = {
        kind: [head for head, of in kinds.items() if of == kind and head not in set(chosen)]
        for kind in wanted
    }
    possible = math.prod(math.comb(len(others[kind]), count) for kind, count in wanted.items())
    if possible <= draws:
        choices = [itertools.combinations(others[kind], count) for kind, count in wanted.items()]
        return [by_layer(itertools.chain(*one)) for one in itertools.product(*choices)] if possible else []

    def draw() -> Components:
        picked = [
            others[kind][index]
            for kind, count in wanted.items()
            for index in random.choice(len(others[kind]), count, replace=False)
        ]
        return by_layer(picked)

    return _different(draw, draws)


def by_layer(components: Any) -> Components:
    """Return pairs of layer and number as layer to sorted numbers."""
    found: dict[int, list[int]] = {}
    for layer, number in components:
        found.setdefault(int(layer), []).append(int(number))
    return {layer: tuple(sorted(numbers)) for layer, numbers in sorted(found.items())}


def _others(
    experts: Sequence[int], load: Array, match: Match, random: np.random.Generator
) -> tuple[int, ...]:
    """Draw other experts of a layer: any, or for each one of the nearest in load that is still free."""
    listed = set(experts)
    others = [expert for expert in range(len(load)) if expert not in listed]
    if match == "size":
        return tuple(sorted(int(one) for one in random.choice(others, len(experts), replace=False)))
    drawn: list[int] = []
    nearest = max(_NEAREST, len(experts))
    for expert in random.permutation(experts):
        free = sorted(
            (one for one in others if one not in drawn), key=lambda one: abs(load[one] - load[expert])
        )
        drawn.append(int(random.choice(free[:nearest])))
    return tuple(sorted(drawn))


def _different(draw: Any, draws: int) -> list[Components]:
    """Call `draw` until there are enough different sets, or hardly any new ones are found."""
    found: dict[str, Components] = {}
    for _ in range(draws * _TRIES):
        one = draw()
        found.setdefault(str(one), one)
        if len(found) == draws:
            break
    return list(found.values())

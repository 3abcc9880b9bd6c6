"""Random sets: what an ablated set of experts or heads is compared with.

A set and its random sets are exchangeable if the set was chosen by chance, so its p value is then uniform: a
random set is drawn from *all* units, those of the set included, with as many from each stratum. Experts that
an active edit forces can be in neither. Drawing from the *other* units only would not do: a set with the one
head that matters would be compared with sets that cannot have it, and a random set would be significant as
often as it has that head.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Hashable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from ...errors import BadEdit, LabError
from .components import all_units, by_layer, expert_limits, units_of

if TYPE_CHECKING:
    from ...models.loading.loaded_model import LoadedModel
    from .components import Components, Kind, Unit

Array = np.ndarray[Any, np.dtype[Any]]
Match = Literal["size", "load", "kind"]

#: Experts of a layer, nearest in load, that form a stratum.
_STRATUM = 16
#: Draws that are tried for each new set before the sets are taken as exhausted.
_TRIES = 50


def read_match(kind: Kind, match: Any) -> Match:
    """Return what random sets have in common with a set.

    Raises
    ------
    LabError
        If sets of this kind cannot be matched so.
    """
    allowed = ("size", "load") if kind == "experts" else ("size", "kind")
    if match not in allowed:
        raise LabError(
            f"match={match!r} is no way to draw {kind}.",
            hint=" or ".join(f'match="{one}"' for one in allowed),
        )
    return match  # type: ignore[no-any-return]


def describe_match(kind: Kind, match: Match) -> str:
    """Return in words what random sets have in common with a set."""
    if kind == "experts":
        near = f", among the {_STRATUM} nearest in load" if match == "load" else ""
        return f"as many experts of each layer{near}"
    return "as many heads" + (" of local and of global layers" if match == "kind" else "")


def strata(lab: LoadedModel, kind: Kind, match: Match, load: Mapping[int, Array]) -> dict[Unit, Hashable]:
    """Return the stratum of every unit of a model that can be ablated; random sets have as many of each.

    Parameters
    ----------
    lab, kind
        The model, and which of its units.
    match
        ``"size"``: experts of a layer, or all heads, are one stratum. ``"load"``: experts of a layer that are
        chosen about as often, 16 to a stratum. ``"kind"``: heads of local and of global layers.
    load
        By layer, how often each expert is chosen, ``[experts]``.
    """
    units = all_units(lab, kind)
    if kind == "heads":
        layers = lab.architecture.layers
        return {unit: str(layers[unit[0]].kind) if match == "kind" else "" for unit in units}
    if match == "size":
        return {unit: unit[0] for unit in units}
    usable = set(units)
    return {unit: name for unit, name in load_strata(load).items() if unit in usable}


def load_strata(load: Mapping[int, Array]) -> dict[Unit, Hashable]:
    """Return the stratum of every expert: those of a layer that are chosen about as often, 16 to a stratum.

    Parameters
    ----------
    load
        By layer, how often each expert is chosen, ``[experts]``.
    """
    found: dict[Unit, Hashable] = {}
    for layer, chosen in load.items():
        order = np.argsort(chosen, kind="stable")
        for number, block in enumerate(np.array_split(order, max(1, len(order) // _STRATUM))):
            found |= {(layer, int(expert)): (layer, number) for expert in block}
    return found


def possible_sets(chosen: Components, strata: Mapping[Unit, Hashable]) -> int:
    """Return how many different random sets a set has, itself not counted."""
    pools, wanted = _pools(chosen, strata)
    return math.prod(math.comb(len(pools[name]), count) for name, count in wanted.items()) - 1


def require_experts_left(lab: LoadedModel, chosen: Components, strata: Mapping[Unit, Hashable]) -> None:
    """Raise `BadEdit` if a random set could leave a layer with fewer experts than it chooses for a token.

    Without an active edit no random set can that matches a set which itself leaves enough. With one, a set
    may name experts that the edit ablates anyway, where its random sets name others.

    Parameters
    ----------
    lab
        A mixture-of-experts model.
    chosen
        The set that random sets are to match.
    strata
        Stratum of every expert.
    """
    pools, wanted = _pools(chosen, strata)
    for layer, limit in expert_limits(lab).items():
        gone = set(limit.ablated)
        more = 0
        for name, count in wanted.items():
            of_layer = [unit for unit in pools[name] if unit[0] == layer]
            more += min(count, sum(unit[1] not in gone for unit in of_layer))
        if more and len(gone) + more > limit.most:
            raise BadEdit(
                f"The active edit ablates {len(gone)} experts of layer {layer}, and a random set could "
                f"ablate {more} others; at most {limit.most} can be ablated, as every token needs the rest.",
                hint="Leave out of the set what the active edit ablates, or ablate fewer.",
            )


def random_sets(
    chosen: Components, strata: Mapping[Unit, Hashable], *, draws: int, seed: int
) -> list[Components]:
    """Draw different sets with as many units of each stratum, from all its units.

    Parameters
    ----------
    chosen
        The set, which is not among them.
    strata
        Stratum of every unit.
    draws
        Number of sets; all there are, where there are no more.
    seed
        Of the draws.
    """
    random = np.random.default_rng(seed)
    pools, wanted = _pools(chosen, strata)
    own = by_layer(units_of(chosen))
    if possible_sets(chosen, strata) <= draws:
        choices = [itertools.combinations(pools[name], count) for name, count in wanted.items()]
        sets = [by_layer(itertools.chain(*one)) for one in itertools.product(*choices)]
        kept = [one for one in sets if one != own]
        return [kept[index] for index in random.permutation(len(kept))]
    found: dict[str, Components] = {}
    for _ in range(draws * _TRIES):
        drawn = by_layer(
            pools[name][index]
            for name, count in wanted.items()
            for index in random.choice(len(pools[name]), count, replace=False)
        )
        if drawn != own:
            found.setdefault(str(drawn), drawn)
        if len(found) == draws:
            break
    return list(found.values())


def _pools(
    chosen: Components, strata: Mapping[Unit, Hashable]
) -> tuple[dict[Hashable, list[Unit]], dict[Hashable, int]]:
    """Return the units of each stratum that the set has units of, and how many it has."""
    wanted: dict[Hashable, int] = {}
    for unit in units_of(chosen):
        wanted[strata[unit]] = wanted.get(strata[unit], 0) + 1
    pools: dict[Hashable, list[Unit]] = {name: [] for name in wanted}
    for unit, name in strata.items():
        if name in pools:
            pools[name].append(unit)
    return pools, wanted


def shares(sets: Sequence[Components], kind: Kind, load: Mapping[int, Array]) -> Array:
    """Return the fraction of all choices of all routers that falls on each set; NaN for heads."""
    if kind == "heads":
        return np.full(len(sets), np.nan)
    total = sum(int(one.sum()) for one in load.values())
    chosen = [sum(int(load[layer][list(of)].sum()) for layer, of in one.items()) for one in sets]
    return np.array(chosen) / max(total, 1)

"""Parse the arguments of `Edit`: layers, experts, heads and nats, in every form that they may be given in."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any, Literal

from ...checks import as_index, short_repr
from ...errors import BadEdit

Layer = int | Literal["all"]
Experts = Mapping[Layer, Iterable[int]] | Iterable[int]
Boosts = Mapping[Layer, Mapping[int, float]] | Mapping[int, float]
Heads = Mapping[Layer, Iterable[int]] | Iterable[int]

#: Upper bound of layer, expert and head indices; no model comes near it.
_MAX_INDEX = 65_536
#: Nats beyond which a float32 softmax gives all other experts a probability of 0.
_MAX_NATS = 1_000.0
HOW = "For example ablate_experts={4: [17, 90]}, or ablate_experts=[17] in every layer."
_HOW_BOOST = "For example boost_experts={4: {17: 2.0}}: layer, expert, nats."
HOW_HEADS = "For example ablate_heads={5: [0, 3]}, or ablate_heads=[0] in every layer."


def expert_sets(kind: str, value: Experts) -> dict[Layer, tuple[int, ...]]:
    """Parse experts by layer, or for every layer; sorted, without empty layers.

    Raises
    ------
    BadEdit
        If the value has another form; the message names the argument `kind`.
    """
    return _sets(kind, value, what="an expert", hint=HOW)


def head_sets(value: Heads) -> dict[Layer, tuple[int, ...]]:
    """Parse query heads by layer, or for every layer; sorted, without empty layers.

    Raises
    ------
    BadEdit
        If the value has another form.
    """
    return _sets("ablate_heads", value, what="a head", hint=HOW_HEADS)


def _sets(kind: str, value: Any, *, what: str, hint: str) -> dict[Layer, tuple[int, ...]]:
    if isinstance(value, str | bytes) or not isinstance(value, Iterable):
        raise BadEdit(f"{kind} is {short_repr(value)}.", hint=hint)
    by_layer: Mapping[Any, Any] = value if isinstance(value, Mapping) else {"all": value}
    parsed: dict[Layer, tuple[int, ...]] = {}
    for layer, members in by_layer.items():
        if isinstance(members, str | bytes | Mapping) or not isinstance(members, Iterable):
            raise BadEdit(f"{kind} gives {short_repr(members)} for layer {short_repr(layer)}.", hint=hint)
        indices = {as_index(member, what, kind, hint=hint, below=_MAX_INDEX) for member in members}
        if indices:
            parsed[_layer(layer, kind, hint=hint)] = tuple(sorted(indices))
    return _sorted(parsed)


def boosts(value: Boosts) -> dict[Layer, Mapping[int, float]]:
    """Parse nats by expert and layer, or by expert for every layer; sorted, without empty layers.

    Raises
    ------
    BadEdit
        If the value has another form, or a number of nats is beyond what a softmax can take.
    """
    if not isinstance(value, Mapping):
        raise BadEdit(f"boost_experts is {short_repr(value)}.", hint=_HOW_BOOST)
    nested = [isinstance(entry, Mapping) for entry in value.values()]
    if any(nested) and not all(nested):
        raise BadEdit("boost_experts mixes layers and experts.", hint=_HOW_BOOST)
    by_layer: Mapping[Any, Any] = value if any(nested) else {"all": value}
    parsed: dict[Layer, Mapping[int, float]] = {}
    for layer, experts in by_layer.items():
        nats = {
            as_index(expert, "an expert", "boost_experts", hint=HOW, below=_MAX_INDEX): _nats(added)
            for expert, added in experts.items()
        }
        if nats:
            parsed[_layer(layer, "boost_experts", hint=HOW)] = MappingProxyType(dict(sorted(nats.items())))
    return _sorted(parsed)


def _sorted(by_layer: dict[Layer, Any]) -> dict[Layer, Any]:
    return dict(sorted(by_layer.items(), key=lambda item: order(item[0])))


def order(layer: Layer) -> tuple[bool, int]:
    """Return the sort key of a layer: ascending, then ``"all"``."""
    return (True, 0) if layer == "all" else (False, layer)


def union(
    first: Mapping[Layer, tuple[int, ...]], second: Mapping[Layer, tuple[int, ...]]
) -> dict[Layer, Iterable[int]]:
    """Return the union of two sets of experts or heads, by layer."""
    return {layer: {*first.get(layer, ()), *second.get(layer, ())} for layer in (*first, *second)}


def _layer(layer: Any, kind: str, *, hint: str) -> Layer:
    return "all" if layer == "all" else as_index(layer, "a layer", kind, hint=hint, below=_MAX_INDEX)


def _nats(value: Any) -> float:
    try:
        nats = math.nan if isinstance(value, str | bytes | bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        nats = math.nan
    if not abs(nats) <= _MAX_NATS:
        raise BadEdit(
            f"boost_experts adds {short_repr(value)} to a logit; it takes a number of nats from "
            f"{-_MAX_NATS:,g} to {_MAX_NATS:,g}.",
            hint="Use ablate_experts to never choose an expert, force_experts to always choose it.",
        )
    return nats + 0.0  # −0.0 is 0.0

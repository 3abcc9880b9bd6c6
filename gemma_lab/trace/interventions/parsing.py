"""What an edit may say: layers, experts, heads and nats, in the forms a person writes them."""

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

#: No model has so many layers, or experts or heads in one.
_MOST = 65_536
#: Beyond it a float32 softmax has nothing left for the others.
_STRONGEST = 1_000.0
HOW = "For example ablate_experts={4: [17, 90]}, or ablate_experts=[17] in every layer."
_HOW_BOOST = "For example boost_experts={4: {17: 2.0}}: layer, expert, nats."
HOW_HEADS = "For example ablate_heads={5: [0, 3]}, or ablate_heads=[0] in every layer."


def expert_sets(kind: str, given: Experts) -> dict[Layer, tuple[int, ...]]:
    """Read experts by layer, or of every layer; ascending, empty ones left out.

    Raises
    ------
    BadEdit
        If it is neither, naming the argument `kind`.
    """
    return _sets(kind, given, what="an expert", hint=HOW)


def head_sets(given: Heads) -> dict[Layer, tuple[int, ...]]:
    """Read query heads by layer, or of every layer; ascending, empty ones left out.

    Raises
    ------
    BadEdit
        If it is neither.
    """
    return _sets("ablate_heads", given, what="a head", hint=HOW_HEADS)


def _sets(kind: str, given: Any, *, what: str, hint: str) -> dict[Layer, tuple[int, ...]]:
    if isinstance(given, str | bytes) or not isinstance(given, Iterable):
        raise BadEdit(f"{kind} is {short_repr(given)}.", hint=hint)
    by_layer: Mapping[Any, Any] = given if isinstance(given, Mapping) else {"all": given}
    found: dict[Layer, tuple[int, ...]] = {}
    for layer, members in by_layer.items():
        if isinstance(members, str | bytes | Mapping) or not isinstance(members, Iterable):
            raise BadEdit(f"{kind} gives {short_repr(members)} for layer {short_repr(layer)}.", hint=hint)
        listed = tuple(sorted({as_index(member, what, kind, hint=hint, below=_MOST) for member in members}))
        if listed:
            found[_place(layer, kind, hint=hint)] = listed
    return ordered(found)


def boosts(given: Boosts) -> dict[Layer, Mapping[int, float]]:
    """Read nats by expert and layer, or by expert for every layer; ascending, empty ones left out.

    Raises
    ------
    BadEdit
        If it is neither, or no number of nats that a softmax can take.
    """
    if not isinstance(given, Mapping):
        raise BadEdit(f"boost_experts is {short_repr(given)}.", hint=_HOW_BOOST)
    nested = [isinstance(value, Mapping) for value in given.values()]
    if any(nested) and not all(nested):
        raise BadEdit("boost_experts mixes layers and experts.", hint=_HOW_BOOST)
    by_layer: Mapping[Any, Any] = given if any(nested) else {"all": given}
    found: dict[Layer, Mapping[int, float]] = {}
    for layer, experts in by_layer.items():
        listed = {
            as_index(e, "an expert", "boost_experts", hint=HOW, below=_MOST): _nats(nats)
            for e, nats in experts.items()
        }
        if listed:
            found[_place(layer, "boost_experts", hint=HOW)] = MappingProxyType(dict(sorted(listed.items())))
    return ordered(found)


def ordered(found: dict[Layer, Any]) -> dict[Layer, Any]:
    """Return a mapping of layers in their `order`."""
    return dict(sorted(found.items(), key=lambda item: order(item[0])))


def order(layer: Layer) -> tuple[bool, int]:
    """Sort key of layers: ascending, then ``"all"``."""
    return (True, 0) if layer == "all" else (False, layer)


def union(
    first: Mapping[Layer, tuple[int, ...]], second: Mapping[Layer, tuple[int, ...]]
) -> dict[Layer, Iterable[int]]:
    """Return the experts of either, by layer."""
    return {layer: {*first.get(layer, ()), *second.get(layer, ())} for layer in (*first, *second)}


def _place(layer: Any, kind: str, *, hint: str) -> Layer:
    return "all" if layer == "all" else as_index(layer, "a layer", kind, hint=hint, below=_MOST)


def _nats(value: Any) -> float:
    try:
        nats = math.nan if isinstance(value, str | bytes | bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        nats = math.nan
    if not abs(nats) <= _STRONGEST:
        raise BadEdit(
            f"boost_experts adds {short_repr(value)} to a logit; it is a number of nats from "
            f"{-_STRONGEST:,g} to {_STRONGEST:,g}.",
            hint="Use ablate_experts or force_experts for never and always.",
        )
    return nats + 0.0  # −0.0 is 0.0

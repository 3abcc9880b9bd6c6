"""An edit of a model's experts as a value: to print, compare, merge, keep in a file and use again.

No torch here: `gemma_lab.trace.editing` puts an edit in force.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from ..errors import BadEdit
from .edit_terms import HOW, Boosts, Experts, Layer, boosts, expert_sets, order, short, union
from .strict_json import strict_json

if TYPE_CHECKING:
    from ..view.html import Markup

#: What a file says it is.
_FORMAT, _VERSION = "gemma_lab edit", 1
_LARGEST_FILE = 1 << 20
_LONGEST_REPR = 200
_KINDS = ("ablate_experts", "boost_experts", "force_experts")
_SAVED = "Give a file that Edit.save wrote."


@dataclass(frozen=True)
class LayerEdit:
    """What an edit does in one layer.

    Attributes
    ----------
    ablate, force
        Experts that are never, and always, among the chosen; sorted.
    boost
        Experts and the nats added to their logits, sorted; none of 0.
    """

    ablate: tuple[int, ...] = ()
    boost: tuple[tuple[int, float], ...] = ()
    force: tuple[int, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.ablate or self.boost or self.force)


@dataclass(frozen=True, init=False, repr=False)
class Edit:
    """Which experts to take away, favour or insist on, and in which layers.

    Each argument maps the model's layers to experts. Without layers it holds in every layer that has experts,
    which is the layer ``"all"``; what is said of ``"all"`` and of a layer adds up there.

    Parameters
    ----------
    ablate_experts
        Experts that are never chosen: their logit is −∞, so the top-k is taken among the rest and weighed by
        the family's own rule.
    boost_experts
        Nats added to an expert's router logit: its odds against every other expert are multiplied by
        ``exp(nats)``. May be negative. A layer's own boost of an expert stands before the one of ``"all"``.
    force_experts
        Experts that are always among the chosen, in the place of the least likely ones, with the weight that
        the family's rule gives them there: small if the router finds them unlikely. Boost them to change it.

    Attributes
    ----------
    ablate_experts, force_experts : mapping of layer to tuple of int
    boost_experts : mapping of layer to mapping of int to float

    Raises
    ------
    BadEdit
        If something is no layer, expert or number of nats, or an expert is both ablated and forced.

    Notes
    -----
    ``a | b`` is both: ablated and forced experts of either, and boosts as dictionaries merge, so where both
    boost an expert of a layer, `b` says how much; ``a | a == a``. An edit is true if it changes anything.

    Examples
    --------
    >>> Edit(ablate_experts={4: [90, 17]}) | Edit(boost_experts={17: 2})
    Edit(ablate_experts={4: [17, 90]}, boost_experts={'all': {17: 2.0}})
    """

    ablate_experts: Mapping[Layer, tuple[int, ...]]
    boost_experts: Mapping[Layer, Mapping[int, float]]
    force_experts: Mapping[Layer, tuple[int, ...]]

    def __init__(
        self, *, ablate_experts: Experts = (), boost_experts: Boosts = MappingProxyType({}),
        force_experts: Experts = (),
    ) -> None:  # fmt: skip
        found: dict[str, dict[Layer, Any]] = {
            "ablate_experts": expert_sets("ablate_experts", ablate_experts),
            "boost_experts": boosts(boost_experts),
            "force_experts": expert_sets("force_experts", force_experts),
        }
        for name, value in found.items():
            object.__setattr__(self, name, MappingProxyType(value))
        for layer in self.layers:
            both = set(self._listed("ablate_experts", layer)) & set(self._listed("force_experts", layer))
            if both:
                raise BadEdit(
                    f"{_experts(sorted(both))} of {_layer_name(layer)} would be both ablated and forced.",
                    hint="Take it out of one of them.",
                )

    @property
    def layers(self) -> tuple[Layer, ...]:
        """Layers that it names: ascending, then ``"all"``."""
        named = {layer for kind in _KINDS for layer in getattr(self, kind)}
        return tuple(sorted(named, key=order))

    def at(self, layer: int) -> LayerEdit:
        """Return what it does in one of the model's layers."""
        added = {**self.boost_experts.get("all", {}), **self.boost_experts.get(layer, {})}
        return LayerEdit(
            ablate=self._listed("ablate_experts", layer),
            boost=tuple(sorted((expert, nats) for expert, nats in added.items() if nats)),
            force=self._listed("force_experts", layer),
        )

    def check(self, shape: Mapping[int, tuple[int, int]], *, model: str = "the model") -> None:
        """Raise `BadEdit` unless a model has the layers and experts.

        Parameters
        ----------
        shape
            Number of experts and top-k of each layer that has experts.
        model
            What to call it.

        Raises
        ------
        BadEdit
            If a layer has no experts, an expert does not exist, fewer than top-k experts would be left, or
            more than top-k are forced.
        """
        if self.layers and not shape:
            raise BadEdit(
                f"There are no experts to edit in {model}: it is a dense model.",
                hint="mini-moe and 26b-a4b have experts.",
            )
        for layer in self.layers:
            if layer != "all" and layer not in shape:
                raise BadEdit(
                    f"Layer {layer} of {model} does not exist or has no experts.",
                    hint=f"The layers with experts: {_ranges(shape)}.",
                )
        for layer, (experts, top_k) in shape.items():
            self._check_layer(layer, experts, top_k, model)

    def _check_layer(self, layer: int, experts: int, top_k: int, model: str) -> None:
        here = self.at(layer)
        boosted = [expert for place in (layer, "all") for expert in self.boost_experts.get(place, ())]
        missing = sorted({e for e in (*here.ablate, *here.force, *boosted) if e >= experts})
        if missing:
            raise BadEdit(
                f"{_experts(missing)} does not exist in layer {layer} of {model}.",
                hint=f"It has experts 0 to {experts - 1}.",
            )
        if len(here.ablate) > experts - top_k:
            raise BadEdit(
                f"{len(here.ablate)} of {experts} experts of layer {layer} would be ablated; {model} sends "
                f"every token to {top_k}.",
                hint=f"Leave at least {top_k}: ablate at most {experts - top_k}.",
            )
        if len(here.force) > top_k:
            raise BadEdit(
                f"{len(here.force)} experts of layer {layer} would be forced; {model} sends every token "
                f"to {top_k}.",
                hint=f"Force at most {top_k}.",
            )

    def _listed(self, kind: str, layer: Layer) -> tuple[int, ...]:
        stored = getattr(self, kind)
        return tuple(sorted({*stored.get("all", ()), *stored.get(layer, ())}))

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain values that JSON can hold; layers are strings there."""
        parts: dict[str, dict[str, Any]] = {
            "ablate_experts": {str(layer): list(of) for layer, of in self.ablate_experts.items()},
            "boost_experts": {
                str(layer): {str(expert): nats for expert, nats in of.items()}
                for layer, of in self.boost_experts.items()
            },
            "force_experts": {str(layer): list(of) for layer, of in self.force_experts.items()},
        }
        return {kind: part for kind, part in parts.items() if part}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Edit:
        """Return the edit of which `to_dict` gave these values.

        Raises
        ------
        BadEdit
            If they are anything else.
        """
        if not isinstance(data, Mapping) or not set(data) <= set(_KINDS):
            raise BadEdit(
                f"An edit cannot be read from {short(data)}.", hint=f"It has only {', '.join(_KINDS)}."
            )
        parts: dict[str, Any] = {}
        for kind, part in data.items():
            if not isinstance(part, Mapping):
                raise BadEdit(f"{kind} is {short(part)}, not a mapping of layers.", hint=HOW)
            parts[kind] = {_key(layer, kind): of for layer, of in part.items()}
        if "boost_experts" in parts:
            parts["boost_experts"] = {
                layer: {_key(expert, "boost_experts"): nats for expert, nats in of.items()}
                if isinstance(of, Mapping)
                else of
                for layer, of in parts["boost_experts"].items()
            }
        return cls(**parts)

    def save(self, path: str | Path) -> Path:
        """Write it as a JSON file and return the file's path."""
        target = Path(path)
        whole = {"format": _FORMAT, "version": _VERSION, **self.to_dict()}
        target.write_text(json.dumps(whole, indent=2) + "\n", encoding="utf-8")
        return target

    @classmethod
    def open(cls, path: str | Path) -> Edit:
        """Return the edit in a file that `save` wrote.

        Raises
        ------
        BadEdit
            If the file is anything else.
        """
        file = Path(path)
        if not file.is_file():
            raise BadEdit(f"There is no file {short(str(path))}.", hint="Give the path of a saved edit.")
        with file.open("rb") as opened:
            raw = opened.read(_LARGEST_FILE + 1)
        if len(raw) > _LARGEST_FILE:
            raise BadEdit(f"{file.name} is larger than {_LARGEST_FILE:,} bytes.", hint="No edit is so large.")
        try:
            whole = strict_json(raw)
        except ValueError as error:  # also of bytes that are no UTF-8
            why = str(error).splitlines()[0]
            raise BadEdit(f"{file.name} cannot be read: {short(why)}.", hint=_SAVED) from error
        if not isinstance(whole, dict) or whole.pop("format", None) != _FORMAT:
            raise BadEdit(f"{file.name} is no edit of gemma_lab.", hint=_SAVED)
        version = whole.pop("version", None)
        if version != _VERSION or isinstance(version, bool):
            raise BadEdit(
                f"{file.name} has version {short(version)}; this release reads version {_VERSION}.",
                hint="Open it with the release that saved it.",
            )
        return cls.from_dict(whole)

    def __or__(self, other: Edit) -> Edit:
        if not isinstance(other, Edit):
            return NotImplemented
        boosted = {
            layer: {**self.boost_experts.get(layer, {}), **other.boost_experts.get(layer, {})}
            for layer in (*self.boost_experts, *other.boost_experts)
        }
        return Edit(
            ablate_experts=union(self.ablate_experts, other.ablate_experts),
            boost_experts=boosted,
            force_experts=union(self.force_experts, other.force_experts),
        )

    def __bool__(self) -> bool:
        nats = (value for of in self.boost_experts.values() for value in of.values())
        return bool(self.ablate_experts or self.force_experts or any(nats))

    def __hash__(self) -> int:
        return hash(json.dumps(self.to_dict()))

    def __reduce__(self) -> tuple[Callable[[Mapping[str, Any]], Edit], tuple[dict[str, Any]]]:
        return Edit.from_dict, (self.to_dict(),)  # mapping proxies are neither copied nor pickled

    def __repr__(self) -> str:
        parts = {
            "ablate_experts": {layer: list(of) for layer, of in self.ablate_experts.items()},
            "boost_experts": {layer: dict(of) for layer, of in self.boost_experts.items()},
            "force_experts": {layer: list(of) for layer, of in self.force_experts.items()},
        }
        full = f"Edit({', '.join(f'{kind}={part}' for kind, part in parts.items() if part)})"
        return full if len(full) <= _LONGEST_REPR else f"Edit({self._summary()})"

    def _summary(self) -> str:
        said = []
        for kind in _KINDS:
            places = getattr(self, kind)
            if places:
                count = sum(len(of) for of in places.values())
                where = (
                    "all layers"
                    if set(places) == {"all"}
                    else f"{len(places)} layer{'s' * (len(places) > 1)}"
                )
                said.append(f"{kind}: {count:,} in {where}")
        return ", ".join(said)

    def _repr_html_(self) -> Markup:
        from ..view.edits import edit_html

        return edit_html(self)


def _key(text: Any, kind: str) -> Any:
    """Read a key of JSON, where numbers are strings."""
    plain = isinstance(text, str) and text.isascii() and text.isdecimal() and len(text) <= 5
    if plain and str(int(text)) != text:
        raise BadEdit(f"{kind} writes {text} for {int(text)}.", hint=_SAVED)
    return int(text) if plain else text


def _experts(numbers: Iterable[int]) -> str:
    listed = list(numbers)
    said = ", ".join(map(str, listed[:12])) + (" …" if len(listed) > 12 else "")
    return f"Expert {said}" if len(listed) == 1 else f"Each of experts {said}"


def _layer_name(layer: Layer) -> str:
    return "every layer" if layer == "all" else f"layer {layer}"


def _ranges(numbers: Iterable[int]) -> str:
    """Say ascending numbers briefly: ``0 to 5, 7``."""
    return ", ".join(_runs(sorted(numbers)))


def _runs(numbers: list[int]) -> Iterator[str]:
    start = 0
    for place in range(1, len(numbers) + 1):
        if place == len(numbers) or numbers[place] != numbers[place - 1] + 1:
            first, last = numbers[start], numbers[place - 1]
            yield str(first) if first == last else f"{first} to {last}"
            start = place

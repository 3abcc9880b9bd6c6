"""Check an edit against a model: its layers, experts, heads and width."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from ...errors import BadEdit
from ...models.loading.weights_digest import same_weights
from .parsing import Layer


@dataclass(frozen=True)
class Anatomy:
    """The layers, experts and heads of a model that can be edited.

    Attributes
    ----------
    experts
        Number of experts and top-k of each layer that has experts.
    heads
        Number of query heads of each layer that has attention.
    layers
        How many layers there are.
    width
        Size of the residual stream.
    sites
        The layers that have a branch, by the branch's name in `Activations.site`.
    weights
        Digests of the weights (`gemma_lab.models.loading.weights_digest`), as far as they are known.
    """

    experts: Mapping[int, tuple[int, int]] = field(default_factory=dict)
    heads: Mapping[int, int] = field(default_factory=dict)
    layers: int = 0
    width: int = 0
    sites: Mapping[str, Collection[int]] = field(default_factory=dict)
    weights: Mapping[str, str] = field(default_factory=dict)


def check(edit: Any, anatomy: Anatomy, *, model: str) -> None:
    """Raise `BadEdit` unless a model has the layers, experts and heads of an edit; see `Edit.check`."""
    _check_experts(edit, anatomy.experts, model)
    _check_heads(edit, anatomy.heads, model)
    _check_cuts(edit, anatomy.heads, model)
    for patch in edit.patch:
        for layer in patch.layers:
            if layer >= anatomy.layers:
                raise BadEdit(
                    f"Layer {layer} of {model} does not exist; a patch names it.",
                    hint=f"It has layers 0 to {anatomy.layers - 1}.",
                )
        site = patch.source.site
        have = range(anatomy.layers) if site == "residual" else anatomy.sites.get(site, ())
        if missing := [layer for layer in patch.layers if layer not in have]:
            raise BadEdit(
                f"Layer {missing[0]} of {model} has no {site}; a patch names it.",
                hint=f"Layers that have: {ranges(have) or 'none'}.",
            )
        if patch.source.width != anatomy.width:
            raise BadEdit(
                f"A patch of width {patch.source.width:,}, from {patch.source.model}, does not fit {model}, "
                f"whose residual stream is {anatomy.width:,} wide.",
                hint="Patch activations of the same model.",
            )
    _check_steering(edit, anatomy, model)


def _check_steering(edit: Any, anatomy: Anatomy, model: str) -> None:
    for direction in (steering.direction for steering in edit.steer):
        beyond = [layer for layer in direction.layers if layer >= anatomy.layers]
        if beyond:
            raise BadEdit(
                f"Layer {beyond[0]} of {model} does not exist; {direction!r} names it.",
                hint=f"It has layers 0 to {anatomy.layers - 1}.",
            )
        if direction.width != anatomy.width:
            raise BadEdit(
                f"A direction of width {direction.width:,}, from {direction.model}, does not fit {model}, "
                f"whose residual stream is {anatomy.width:,} wide.",
                hint="Compute it on this model: lab.direction(…).",
            )
        if not same_weights(direction.weights, anatomy.weights):
            raise BadEdit(
                f"{direction!r} was computed on other weights than {model} has.",
                hint="Compute it again on these: lab.direction(…).",
            )


def check_disjoint(edit: Any) -> None:
    """Raise `BadEdit` if an expert would be both ablated and forced."""
    for layer in edit.layers:
        twice = set(edit.listed("ablate_experts", layer)) & set(edit.listed("force_experts", layer))
        if twice:
            raise BadEdit(
                f"{named('Expert', sorted(twice))} of {layer_name(layer)} would be both ablated and forced.",
                hint="Take it out of one of them.",
            )


def _check_experts(edit: Any, experts: Mapping[int, tuple[int, int]], model: str) -> None:
    layers = {*edit.ablate_experts, *edit.boost_experts, *edit.force_experts}
    if layers and not experts:
        raise BadEdit(
            f"There are no experts to edit in {model}: it is a dense model.",
            hint="mini-moe and 26b-a4b have experts.",
        )
    for layer in layers:
        if layer != "all" and layer not in experts:
            raise BadEdit(
                f"Layer {layer} of {model} does not exist or has no experts.",
                hint=f"The layers with experts: {ranges(experts)}.",
            )
    for layer, (count, top_k) in experts.items() if layers else ():
        _check_router(edit, layer, count, top_k, model)


def _check_router(edit: Any, layer: int, experts: int, top_k: int, model: str) -> None:
    here = edit.at(layer)
    boosted = [expert for place in (layer, "all") for expert in edit.boost_experts.get(place, ())]
    missing = sorted({e for e in (*here.ablate, *here.force, *boosted) if e >= experts})
    if missing:
        raise BadEdit(
            f"{named('Expert', missing)} does not exist in layer {layer} of {model}.",
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


def _check_heads(edit: Any, heads: Mapping[int, int], model: str) -> None:
    for layer, listed in edit.ablate_heads.items():
        _check_attention(layer, heads, model)
        for where in heads if layer == "all" else (layer,):
            _check_exist(listed, where, heads[where], model)


def _check_cuts(edit: Any, heads: Mapping[int, int], model: str) -> None:
    for cut in edit.knock_out_attention:
        places: tuple[Layer, ...] = ("all",) if cut.layers is None else cut.layers
        for layer in places:
            _check_attention(layer, heads, model)
            for where in heads if layer == "all" else (layer,):
                _check_exist(cut.heads or (), where, heads[where], model)


def _check_attention(layer: Layer, heads: Mapping[int, int], model: str) -> None:
    if not heads or (layer != "all" and layer not in heads):
        missing = f"Layer {layer} of {model} does not exist or has no attention heads."
        raise BadEdit(
            missing if heads else f"There are no attention heads to edit in {model}.",
            hint=f"The layers with heads: {ranges(heads)}." if heads else "Load a decoder of transformers.",
        )


def _check_exist(listed: Iterable[int], layer: int, count: int, model: str) -> None:
    missing = [head for head in listed if head >= count]
    if missing:
        raise BadEdit(
            f"{named('Head', missing)} does not exist in layer {layer} of {model}.",
            hint=f"It has query heads 0 to {count - 1}.",
        )


def named(what: str, numbers: Iterable[int]) -> str:
    """Return the subject of an error: ``"Expert 3"``, ``"Each of experts 3, 4"``."""
    listed = list(numbers)
    text = ", ".join(map(str, listed[:12])) + (" …" if len(listed) > 12 else "")
    return f"{what} {text}" if len(listed) == 1 else f"Each of {what.lower()}s {text}"


def layer_name(layer: Layer) -> str:
    """Return a layer in words: ``"layer 3"``, ``"every layer"``."""
    return "every layer" if layer == "all" else f"layer {layer}"


def ranges(numbers: Iterable[int]) -> str:
    """Format numbers as ascending ranges: ``"0 to 5, 7"``."""
    return ", ".join(_runs(sorted(numbers)))


def _runs(numbers: list[int]) -> Iterator[str]:
    start = 0
    for place in range(1, len(numbers) + 1):
        if place == len(numbers) or numbers[place] != numbers[place - 1] + 1:
            first, last = numbers[start], numbers[place - 1]
            yield str(first) if first == last else f"{first} to {last}"
            start = place

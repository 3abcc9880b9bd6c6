"""Sets of experts or heads: read from what a caller gives, and every unit that a model has."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from ...checks import short_repr, whole_number
from ...errors import BadEdit, LabError

if TYPE_CHECKING:
    from ...models.loading.loaded_model import LoadedModel

Kind = Literal["experts", "heads"]
#: Layer and number of an expert or a head.
Unit = tuple[int, int]
#: Layer to experts or heads.
Components = dict[int, tuple[int, ...]]

_HINTS = {
    "experts": "Pass layers and experts: {0: [17, 5]}.",
    "heads": "Pass layers and heads, {5: [0, 2]}, or pairs of them, [(5, 0), (5, 2)].",
}


def read_kind(lab: LoadedModel, kind: Any) -> Kind:
    """Return a kind of component that the model has.

    Raises
    ------
    BadEdit
        If the model has no experts.
    LabError
        If it is neither ``"experts"`` nor ``"heads"``, or there is no loaded model.
    """
    if not hasattr(lab, "model") or not hasattr(lab, "architecture"):
        raise LabError(f"lab is {short_repr(lab)}.", hint="Pass a loaded model: gl.load('mini-moe').")
    if kind not in ("experts", "heads"):
        raise LabError(f"kind={short_repr(kind)} cannot be ablated.", hint='kind="experts" or kind="heads".')
    if kind == "experts" and not lab.architecture.experts:
        raise BadEdit(
            f"{lab.name} has no experts.", hint="Load a mixture-of-experts model: gl.load('mini-moe')."
        )
    return kind  # type: ignore[no-any-return]


def read_components(lab: LoadedModel, kind: Kind, given: Any) -> Components:
    """Return a set as layer to sorted numbers, checked as `Lab.edit` checks it under the active edit.

    Parameters
    ----------
    lab
        The model that has them.
    kind
        Of the components.
    given
        Layer to numbers, or, of heads, pairs of layer and head.

    Raises
    ------
    BadEdit
        If there are none, the model has no such experts or heads, or, with the active edit, too few experts
        would be left or one would be both ablated and forced.
    """
    if kind == "heads" and not isinstance(given, Mapping):
        given = _pairs(given)
    counts = _counts(lab, kind)
    found = _checked(given, kind, lambda layer: counts.get(layer, 0), len(lab.architecture.layers))
    require_applicable(lab, kind, found)
    return found


def require_applicable(lab: LoadedModel, kind: Kind, components: Components) -> None:
    """Raise `BadEdit` unless `Lab.edit` could ablate a set under the active edit."""
    from ...trace.interventions.apply import EditContext, active_edit
    from ...trace.interventions.edit import Edit

    ablated = Edit(ablate_experts=components) if kind == "experts" else Edit(ablate_heads=components)
    EditContext(lab.model, active_edit(lab.model) | ablated, name=lab.name)  # checks, and is not entered


def all_units(lab: LoadedModel, kind: Kind) -> list[Unit]:
    """Return every expert or head of the model that can be ablated, as layer and number.

    An expert that the active edit forces cannot be: it would be always and never chosen.
    """
    forced: dict[int, tuple[int, ...]] = {}
    if kind == "experts":
        forced = {layer: here.forced for layer, here in expert_limits(lab).items()}
    return [
        (layer, one)
        for layer, count in _counts(lab, kind).items()
        for one in range(count)
        if one not in forced.get(layer, ())
    ]


@dataclass(frozen=True)
class ExpertLimit:
    """How many experts of a layer can be ablated, and which cannot.

    Attributes
    ----------
    most
        Number of experts that can be ablated, those of the active edit included: every token needs the rest.
    ablated, forced
        Experts that the active edit ablates, and those that it forces.
    """

    most: int
    ablated: tuple[int, ...]
    forced: tuple[int, ...]

    @property
    def room(self) -> int:
        """Number of experts that can be ablated besides those of the active edit."""
        return self.most - len(self.ablated)


def expert_limits(lab: LoadedModel) -> dict[int, ExpertLimit]:
    """Return, by layer, what limits the sets of its experts that can be ablated under the active edit."""
    from ...trace.interventions.apply import active_edit
    from ...trace.probes.routers import routers

    edit = active_edit(lab.model)
    return {
        router.layer: ExpertLimit(
            router.experts - router.top_k, edit.at(router.layer).ablate, edit.at(router.layer).force
        )
        for router in routers(lab.model, missing_ok=True)
    }


def by_layer(units: Iterable[Unit]) -> Components:
    """Return pairs of layer and number as layer to sorted numbers."""
    found: dict[int, list[int]] = {}
    for layer, number in units:
        found.setdefault(int(layer), []).append(int(number))
    return {layer: tuple(sorted(numbers)) for layer, numbers in sorted(found.items())}


def units_of(components: Mapping[int, Sequence[int]]) -> list[Unit]:
    """Return layer to numbers as pairs of layer and number."""
    return [(layer, number) for layer, numbers in components.items() for number in numbers]


def _counts(lab: LoadedModel, kind: Kind) -> dict[int, int]:
    """Return, by layer, the number of its experts or of its heads that can be ablated."""
    if kind == "heads":
        from ...trace.interventions.head_ablation import heads_of

        return {layer: one.count for layer, one in heads_of(lab.model).items()}
    from ...trace.probes.routers import routers

    return {router.layer: router.experts for router in routers(lab.model, missing_ok=True)}


def _checked(given: Any, kind: Kind, count: Callable[[int], int], layers: int) -> Components:
    what = kind[:-1]
    if not isinstance(given, Mapping) or not given:
        raise BadEdit(f"{kind} is {short_repr(given)}.", hint=_HINTS[kind])
    found: Components = {}
    for layer, listed in given.items():
        if whole_number("layer", layer, minimum=0) >= layers:
            raise BadEdit(f"There is no layer {layer}.", hint=f"Layers are 0 to {layers - 1}.")
        if isinstance(listed, str) or not hasattr(listed, "__iter__"):
            raise BadEdit(f"Layer {layer} has {short_repr(listed)} for {kind}.", hint=_HINTS[kind])
        numbers = tuple(sorted({whole_number(what, one, minimum=0) for one in listed}))
        if numbers and numbers[-1] >= count(int(layer)):
            raise BadEdit(
                f"Layer {layer} has no {what} {numbers[-1]}.", hint=f"It has {count(int(layer))}, from 0."
            )
        if numbers:
            found[int(layer)] = numbers
    if not found:
        raise BadEdit(f"There are no {kind} to ablate.", hint=_HINTS[kind])
    return found


def _pairs(heads: Any) -> Components:
    try:
        return by_layer(
            (whole_number("layer", layer, minimum=0), whole_number("head", head, minimum=0))
            for layer, head in heads
        )
    except (TypeError, ValueError):
        raise BadEdit(f"heads is {short_repr(heads)}.", hint=_HINTS["heads"]) from None

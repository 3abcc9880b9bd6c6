"""The patch of one cell of a causal map as an edit, for a trace of the patched run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ...checks import short_repr
from ...errors import LabError
from ...models.loading.loaded_model import LoadedModel
from ...models.loading.restore import RestoreStack, restores_model
from ...models.loading.weights_digest import same_weights, weights_digest
from ...trace.interventions.apply import active_edit, editing
from ...trace.interventions.edit import Edit
from ...trace.interventions.patch import Patch
from ...trace.records.activations import Activations
from .cells import Cell, CellValues, Span, cells_of
from .grid import CausalEffect
from .pair import make_pair, record

if TYPE_CHECKING:
    from ...models.chat.request import Request


@restores_model
def cell_edit(
    model: LoadedModel,
    place: CausalEffect,
    *,
    requests: tuple[Request, Request],
    answer: Sequence[int],
    denoising: bool,
    spans: Sequence[Span],
    positions: tuple[int, ...],
    tokens: int,
    active: Edit,
) -> Edit:
    """Return the patch of a cell; see `CausalMap.edit`.

    Parameters
    ----------
    model
        The model of the map.
    place
        The cell.
    requests
        The clean and the corrupted prompt.
    answer, spans, positions
        Those of the map.
    denoising
        Whether the corrupted run is patched.
    tokens
        Number of tokens of each prompt and its answer in the map.
    active
        The edit that was active when the map was made.
    """
    now = active_edit(model.model)
    if now and now != active:
        raise LabError(
            f"The map was made under {active!r}; {now!r} is active.", hint="Leave its `with` block first."
        )
    with editing(model, active):
        patch = _patch(model, place, requests, answer, denoising, spans, positions, tokens)
    return active | Edit(patch=patch)


def check_model(
    lab: Any, *, name: str, weights: Mapping[str, str], adapter: Mapping[str, str] | None
) -> None:
    """Raise `LabError` unless a lab has the weights and the adapter that a map was made with.

    Where matrices cannot be compared, as quantised ones, the name decides, too.
    """
    if not isinstance(lab, LoadedModel):
        raise LabError(f"lab is {short_repr(lab)}, no loaded model.", hint="Pass the lab that made the map.")
    digests = weights_digest(lab.model)
    compared = weights.get("matrices") and digests["matrices"]
    if not same_weights(weights, digests) or (not compared and lab.name != name):
        raise LabError(
            f"The map is of {name}, not of the weights that {lab.name} has.",
            hint="Pass the lab that made it.",
        )
    if (lab.adapter or None) != (adapter or None):
        named = [short_repr(each["name"]) if each else "none" for each in (adapter, lab.adapter)]
        raise LabError(
            f"The map was made with the adapter {named[0]}; active is {named[1]}.",
            hint="lab.adapters.enable(name), or lab.adapters.disable(), as it was then.",
        )


def _patch(
    model: LoadedModel,
    place: CausalEffect,
    requests: tuple[Request, Request],
    answer: Sequence[int],
    denoising: bool,
    spans: Sequence[Span],
    positions: tuple[int, ...],
    tokens: int,
) -> Patch:
    pair = make_pair(model, *requests, list(answer), 1)
    if len(pair.clean.ids) != tokens:
        raise LabError(
            f"The prompts are {len(pair.clean.ids):,} tokens now; the map has {tokens:,}.",
            hint="Make the map again.",
        )
    with RestoreStack() as restore:
        restore.hold(model.lock)
        runs = [record(model, prompt) for prompt in (pair.clean, pair.corrupted)]
        base, source = runs[::-1] if denoising else runs
        _, _, cells = cells_of(place.part, base, source, spans=spans, positions=positions)
        cell = _find(cells, place)
        values = CellValues(base, source)
        cell = values.changed(cell) or cell
        written = values.of(cell).float().cpu().numpy()
    return Patch(Activations((cell.layer,), cell.positions, written[None], model.name, cell.site))


def _find(cells: list[Cell], place: CausalEffect) -> Cell:
    for cell in cells:
        if (cell.layer, cell.column) == (place.layer, place.column):
            return cell
    raise LabError(
        f"There is no cell of {place.part} in layer {place.layer}, column {place.column}.",
        hint="Neither run sends a token to an expert without a cell.",
    )

"""The patch of one cell of a causal map as an edit, for a trace of the patched run."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...checks import short_repr
from ...errors import LabError
from ...models.loading.restore import RestoreStack, restores_model
from ...trace.interventions.edit import Edit
from ...trace.interventions.patch import Patch
from ...trace.records.activations import Activations
from .causal_map import CausalEffect, CausalMap
from .cells import Cell, CellValues, cells_of
from .pair import make_pair, record

if TYPE_CHECKING:
    from ...models.loading.loaded_model import LoadedModel


@restores_model
def cell_edit(model: LoadedModel, data: CausalMap, place: CausalEffect) -> Edit:
    """Return the patch of a cell; see `CausalMap.edit`."""
    if not isinstance(place, CausalEffect):
        raise LabError(f"{short_repr(place)} is no cell of a causal map.", hint="Pass one of found.top().")
    data.grid(place.part).row(place.layer)
    if model.name != data.model:
        raise LabError(f"The map is of {data.model}, not of {model.name}.", hint="Pass the lab that made it.")
    pair = make_pair(model, data.clean, data.corrupted, list(data.answer), 1)
    if len(pair.clean.ids) != len(data.clean_tokens):
        raise LabError(
            f"The prompts are {len(pair.clean.ids):,} tokens now; the map has {len(data.clean_tokens):,}.",
            hint="Make the map again.",
        )
    with RestoreStack() as restore:
        restore.hold(model.lock)
        runs = [record(model, prompt) for prompt in (pair.clean, pair.corrupted)]
        base, source = runs[::-1] if data.patching == "denoising" else runs
        _, _, cells = cells_of(place.part, base, source, spans=data.spans, positions=data.positions)
        cell = _find(cells, place)
        values = CellValues(base, source)
        cell = values.changed(cell) or cell
        written = values.of(cell).float().cpu().numpy()
    source_of = Activations((cell.layer,), cell.positions, written[None], model.name, cell.site)
    return Edit(patch=Patch(source_of))


def _find(cells: list[Cell], place: CausalEffect) -> Cell:
    for cell in cells:
        if (cell.layer, cell.column) == (place.layer, place.column):
            return cell
    raise LabError(
        f"There is no cell of {place.part} in layer {place.layer}, column {place.column}.",
        hint="Neither run sends a token to an expert without a cell.",
    )

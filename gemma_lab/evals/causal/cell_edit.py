"""The patch of one cell of a causal map as an edit, for a trace of the patched run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ...errors import LabError
from ...models.loading.restore import RestoreStack, restores_model
from ...trace.interventions.edit import Edit
from ...trace.interventions.patch import Patch
from ...trace.records.activations import Activations
from .cells import Cell, CellValues, Span, cells_of
from .grid import CausalEffect
from .pair import make_pair, record

if TYPE_CHECKING:
    from ...models.chat.request import Request
    from ...models.loading.loaded_model import LoadedModel


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
    """
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

"""Patch many cells of a run in each forward pass, and measure the answer's log-probability."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import torch

from ...models.loading.restore import RestoreStack
from ...system.out_of_memory import is_out_of_memory
from ...trace.interventions.sites import hook_site, site_modules

if TYPE_CHECKING:
    from ...models.loading.loaded_model import LoadedModel
    from ...trace.run.layer_replay import LayerReplay
    from .cells import Cell

#: Called with a cell and the answer's log-probability under it, in nats.
OnCell = Callable[["Cell", float], None]
#: Rows of a batch at most, and tokens of all its rows on a CPU, where larger batches gain nothing.
MAX_ROWS, CPU_TOKENS = 128, 4096
#: Fraction of the free memory that a batch may take.
_MEMORY = 0.3


def evaluate_cells(
    model: LoadedModel,
    replay: LayerReplay,
    cells: Sequence[Cell],
    values: Callable[[Cell], torch.Tensor],
    *,
    answer: Sequence[int],
    rows: slice,
    on_cell: OnCell,
    batch_size: int | None = None,
) -> None:
    """Run the model once per batch of cells, from the cells' layer and first token on.

    Parameters
    ----------
    model, replay
        The model, and the recorded run that is changed.
    cells
        What to patch, one cell per row of a batch.
    values
        Returns what a cell writes, ``[positions, width]``.
    answer, rows
        Token ids of the answer, and the tokens at which they are predicted.
    on_cell
        Takes the results, in no particular order.
    batch_size
        Rows of a batch at most. Default: what takes a third of the free memory.
    """
    from ...models.chat.prefill_plan import free_memory

    free = free_memory(model)
    for layer, site, group in _groups(cells):
        waiting = sorted(group, key=lambda cell: min(cell.positions))
        limit = batch_size
        while waiting:
            start = replay.first_affected(min(min(waiting[0].positions), rows.start))
            count = batch_rows(model, replay.run.length, start, free=free) if limit is None else limit
            batch = waiting[:count]
            try:
                found = _batch(replay, batch, values, layer, site, start, answer, rows)
            except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
                if not is_out_of_memory(error) or len(batch) == 1:
                    raise
                limit = len(batch) // 2
                continue
            waiting = waiting[len(batch) :]
            for cell, logprob in zip(batch, found, strict=True):
                on_cell(cell, logprob)


def batch_rows(model: LoadedModel, total: int, start: int, *, free: int) -> int:
    """Return how many rows a batch may have: all in memory at once, each of the tokens from `start` on."""
    from ...models.chat.prefill_plan import layer_width

    shape, size = model.architecture, model.dtype.itemsize
    tokens = total - start
    widest = max(layer_width(layer, shape.hidden) for layer in shape.layers)
    heads = max(layer.heads for layer in shape.layers)
    kept = max(4 * layer.heads * layer.head_dim for layer in shape.layers)
    row = size * (tokens * widest + total * kept) + tokens * total * heads * (4 + size)
    row += 3 * 4 * shape.vocabulary
    fits = int(_MEMORY * free / row)
    if model.device.type == "cpu":
        fits = min(fits, CPU_TOKENS // tokens)
    return max(1, min(MAX_ROWS, fits))


def _groups(cells: Sequence[Cell]) -> Iterator[tuple[int, str, list[Cell]]]:
    found: dict[tuple[int, str], list[Cell]] = {}
    for cell in cells:
        found.setdefault((cell.layer, cell.site), []).append(cell)
    for (layer, site), group in found.items():
        yield layer, site, group


def _batch(
    replay: LayerReplay,
    batch: Sequence[Cell],
    values: Callable[[Cell], torch.Tensor],
    layer: int,
    site: Any,
    start: int,
    answer: Sequence[int],
    rows: slice,
) -> list[float]:
    row = torch.tensor([number for number, cell in enumerate(batch) for _ in cell.positions])
    column = torch.tensor([token - start for cell in batch for token in cell.positions])
    written = torch.cat([values(cell) for cell in batch])

    def patch(hidden: torch.Tensor) -> torch.Tensor:
        patched = hidden.clone()
        patched[row.to(hidden.device), column.to(hidden.device)] = written.to(hidden.device, hidden.dtype)
        return patched

    with RestoreStack() as restore, torch.no_grad():
        if site == "residual":
            hidden = replay.layers(patch(replay.hidden(layer + 1, len(batch), start)), layer + 1, start)
        else:
            module, at_input = site_modules(replay.model, site)[layer]
            hook_site(module, at_input, patch, restore)
            hidden = replay.layers(replay.hidden(layer, len(batch), start), layer, start)
        found = replay.logprobs(hidden[:, rows.start - start : rows.stop - start], answer)
    return [float(each) for each in found.sum(-1).cpu()]

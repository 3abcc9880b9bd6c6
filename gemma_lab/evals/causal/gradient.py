"""Attribution patching: the effect of every cell to first order, from one pass and its gradient.

The effect of writing b in place of a is approximated by (b − a) · ∇ₐ log p(answer), at the unchanged run
(Nanda 2023, neelnanda.io; Syed et al. 2023, arXiv:2310.10348). One backward pass serves all cells.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import torch

from ...errors import LabError
from ...models.loading.restore import RestoreStack
from ...trace.interventions.sites import hook_site, site_modules

if TYPE_CHECKING:
    from ...trace.records.activations import Site
    from ...trace.run.layer_replay import LayerReplay
    from .cells import Cell

Gradients = dict[tuple["Site", int], torch.Tensor]


def estimate_cells(
    cells: Sequence[Cell],
    values: Callable[[Cell], torch.Tensor],
    before: Callable[[Cell], torch.Tensor],
    gradients: Gradients,
    *,
    on_cell: Callable[[Cell, float], None],
) -> None:
    """Approximate the change of the answer's log-probability by each cell.

    Parameters
    ----------
    cells
        The cells.
    values, before
        Return what a cell writes and what is there without it, ``[positions, width]``.
    gradients
        From `gradients_at`.
    on_cell
        Takes the results, nats.
    """
    for cell in cells:
        change = (values(cell) - before(cell)).double()
        gradient = gradients[cell.site, cell.layer][list(cell.positions)]
        on_cell(cell, float((change * gradient.to(change.device).double()).sum()))


def gradients_at(
    replay: LayerReplay, sites: Sequence[Site], *, answer: Sequence[int], rows: slice
) -> Gradients:
    """Return the gradient of the answer's log-probability at sites of every layer, ``[tokens, width]``.

    Parameters
    ----------
    replay
        Of the run at which the gradient is taken.
    sites
        Where.
    answer, rows
        Token ids of the answer, and the tokens at which they are predicted.

    Raises
    ------
    LabError
        If gradients do not pass through the model, as with some packed weights.
    """
    seen: dict[tuple[Site, int], torch.Tensor] = {}

    def keep(site: Site, layer: int, hidden: torch.Tensor) -> None:
        seen[site, layer] = hidden

    with RestoreStack() as restore, torch.enable_grad():
        for site in sites:
            for layer, (module, at_input) in site_modules(replay.model, site).items():
                hook_site(module, at_input, partial(keep, site, layer), restore)
        start: Any = replay.hidden(0, 1, 0).detach().requires_grad_()
        hidden = replay.layers(start, 0, 0)
        total = replay.logprobs(hidden[:, rows], answer).sum()
        if not total.requires_grad or not all(each.requires_grad for each in seen.values()):
            raise LabError(
                "Gradients do not pass through this model's layers.",
                hint='Load it without quantisation, or use method="exact".',
            )
        found = torch.autograd.grad(total, list(seen.values()), allow_unused=True)
    return {
        place: torch.zeros_like(hidden[0]) if gradient is None else gradient[0].detach()
        for (place, hidden), gradient in zip(seen.items(), found, strict=True)
    }

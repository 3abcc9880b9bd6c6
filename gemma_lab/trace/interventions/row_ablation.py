"""Ablate other experts or heads in every sequence of a batch: many ablations in one forward pass."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from ...errors import BadEdit
from ...models.loading.restore import RestoreStack
from ..probes.routers import Router, RouterEdit, routers
from .apply import active_edit
from .edit import LayerEdit
from .head_ablation import heads_of
from .router_edit import edited_output, terms_of_rows
from .validation import named

Sets = Sequence[Mapping[int, Sequence[int]]]


def hook_rows(model: torch.nn.Module, restore: RestoreStack, *, experts: Sets = (), heads: Sets = ()) -> None:
    """Register hooks that ablate, in row i of every batch, the i-th set of experts and of heads.

    What each row computes is what the same set ablated by an `Edit` gives, up to the rounding of the batch.
    The edit that is active already is kept: its hooks run first, and the experts that it ablates and forces
    are ablated and forced in every row.

    Parameters
    ----------
    model
        A model of transformers. Every forward pass in the block needs as many rows as there are sets.
    restore
        Removes the hooks.
    experts, heads
        One mapping of layer to experts, or to query heads, per row.

    Raises
    ------
    BadEdit
        If a row ablates an expert that the active edit forces.
    """
    if experts:
        active = active_edit(model)
        for router in routers(model):
            listed = [tuple(one.get(router.layer, ())) for one in experts]
            if any(listed):
                restore.hook(router.module, RowExperts(router, listed, active.at(router.layer)))
    if heads:
        for layer, of in heads_of(model).items():
            listed = [tuple(one.get(layer, ())) for one in heads]
            if any(listed):
                restore.hook(of.output, RowHeads(of.count, listed), before=True, prepend=True)


class RowExperts(RouterEdit):
    """The forward hook of a router that never chooses a row's ablated experts."""

    def __init__(self, router: Router, listed: Sequence[tuple[int, ...]], active: LayerEdit) -> None:
        self.router = router
        ablated = row_mask([(*one, *active.ablate) for one in listed], router.experts)
        forced = row_mask([active.force], router.experts)[0]
        both = (ablated & forced).any(0).nonzero().flatten().tolist()
        if both:
            raise BadEdit(
                f"{named('Expert', both)} of layer {router.layer} is forced by the active edit, and would be "
                "ablated.",
                hint="Leave the `with` block of that edit, or ablate other experts.",
            )
        # The choice is made anew, so what the active edit forces has to be forced again. Its boosts are in
        # the probabilities already.
        self._terms = terms_of_rows(ablated, forced if active.force else None)

    def __call__(self, _module: torch.nn.Module, _args: Any, output: Any) -> Any:
        """Return the router's output under the ablation, in its original form."""
        original = self.router.read(output)
        self._terms = self._terms.to(original.probabilities.device)
        terms = self._terms.for_tokens(len(original.probabilities))
        return self.router.write(edited_output(self.router, original, terms), output)


class RowHeads:
    """The forward pre-hook of an output projection that zeroes the outputs of a row's ablated heads."""

    def __init__(self, count: int, listed: Sequence[tuple[int, ...]]) -> None:
        self.count, self._mask = count, row_mask(listed, count)

    def __call__(self, _module: torch.nn.Module, args: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
        """Return the projection's arguments with zeroed heads, in a copy."""
        self._mask = self._mask.to(args[0].device)
        heads = args[0].reshape(*args[0].shape[:-1], self.count, -1)  # [rows, tokens, heads, dim]
        return heads.masked_fill(self._mask[:, None, :, None], 0).flatten(-2), *args[1:]


def row_mask(listed: Sequence[Sequence[int]], width: int) -> torch.Tensor:
    """Return whether each row lists each of `width` components, ``[rows, width]``."""
    mask = torch.zeros(len(listed), width, dtype=torch.bool)
    for row, numbers in enumerate(listed):
        mask[row, list(numbers)] = True
    return mask

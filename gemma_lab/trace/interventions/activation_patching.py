"""Read what layers and their branches return at some tokens, and write other activations in its place."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from ...models.loading.restore import RestoreStack
from ..probes.model_modules import decoder_of
from ..probes.positions import PositionTracker
from ..probes.recorder import Pass
from ..records.activations import Site, unread
from .patch import Patch
from .sites import hook_site, site_modules

if TYPE_CHECKING:
    from numpy.typing import NDArray


def hook_patches(
    model: torch.nn.Module, patches: Sequence[Patch], positions: PositionTracker, restore: RestoreStack
) -> None:
    """Register the hooks that write patches in place of what layers return.

    They come before every other hook of a layer, so that probes record what the next layer gets.

    Parameters
    ----------
    positions
        Attached to the model.
    restore
        Removes the hooks.
    """
    found: dict[Site, dict[int, dict[int, NDArray[np.float32]]]] = {}
    for patch in patches:
        by_layer = found.setdefault(patch.source.site, {})
        for row, layer in enumerate(patch.layers):
            values = patch.source.values[row]
            by_layer.setdefault(layer, {}).update(zip(patch.positions, values, strict=True))
    for site, by_layer in found.items():
        modules = site_modules(model, site)
        for layer, by_position in by_layer.items():
            module, at_input = modules[layer]
            hook_site(module, at_input, ActivationPatch(by_position, positions), restore, prepend=True)


class ActivationPatch:
    """Replaces what one site of a layer returns at some positions."""

    def __init__(self, values: dict[int, NDArray[np.float32]], tracker: PositionTracker) -> None:
        self.positions = torch.tensor(list(values))
        self.values = torch.from_numpy(np.stack(list(values.values())))
        self.tracker = tracker

    def __call__(self, hidden: torch.Tensor) -> torch.Tensor | None:
        """Return ``[rows, tokens, width]`` with the patched rows; None where it has none of them."""
        current = self.tracker.queries(hidden.shape[1])
        # [rows, columns, patched]: which column of which sequence is which of the patched tokens
        row, column, which = (current[:, :, None] == self.positions).nonzero(as_tuple=True)
        if not len(which):
            return None
        patched = hidden.clone()
        values = self.values[which].to(hidden.device, hidden.dtype)
        if len(current) == 1:  # no padding: the same columns in every sequence
            patched[:, column] = values
        else:
            patched[row, column] = values
        return patched


class ActivationProbe:
    """Record what a site of layers returns at chosen tokens of one sequence; for use with `Recorder`."""

    def __init__(
        self, layers: tuple[int, ...], positions: tuple[int, ...], width: int, *, site: Site = "residual"
    ) -> None:
        self.layers, self.positions, self.site = layers, np.asarray(positions), site
        self._values = np.full((len(layers), len(positions), width), np.nan, dtype=np.float32)
        self._start, self._length = 0, 0

    def attach(self, model: torch.nn.Module, restore: RestoreStack) -> None:
        """Register hooks on the layers; see `Probe`."""
        restore.hook(decoder_of(model), self._keep_all_rows, before=True, with_kwargs=True)
        modules = site_modules(model, self.site)
        for row, layer in enumerate(self.layers):
            hook_site(*modules[layer], partial(self._take, row), restore)

    def begin(self, current: Pass) -> None:
        """Start a pass; see `Probe`."""
        self._length = current.length

    def end(self, current: Pass) -> None:
        """Count the tokens of the pass; see `Probe`."""
        self._start += current.length

    def abandon(self) -> None:
        """Discard the current pass: the next one overwrites what it recorded."""
        self._length = 0

    def result(self) -> NDArray[np.float32]:
        """Return the activations.

        Raises
        ------
        BadTrace
            If some were not recorded.
        """
        read = np.isfinite(self._values).all(axis=-1)
        if not read.all():
            raise unread(int(read.sum()), read.size)
        return self._values

    def _take(self, row: int, hidden: torch.Tensor) -> None:
        # the last columns of the pass, where it was sliced to them
        first = self._start + self._length - hidden.shape[1]
        columns = np.flatnonzero((self.positions >= first) & (self.positions < first + hidden.shape[1]))
        if len(columns):
            taken = hidden[0, torch.as_tensor(self.positions[columns] - first, device=hidden.device)]
            self._values[row, columns] = taken.detach().float().cpu().numpy()

    def _keep_all_rows(
        self, _decoder: torch.nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]] | None:
        """Let KV-shared layers run on every token; transformers 5.23 and later hand them the last ones."""
        if type(kwargs.get("logits_to_keep")) is int:
            return args, {**kwargs, "logits_to_keep": 0}
        return None

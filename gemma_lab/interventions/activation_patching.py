"""Reading the residual stream of a model at some tokens, and writing another in its place."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from ..trace.probes.model_modules import decoder_of, layers_of
from ..trace.probes.positions import PositionTracker
from ..trace.probes.recorder import Pass
from ..trace.records.activations import unread
from .patch import Patch

if TYPE_CHECKING:
    from numpy.typing import NDArray



def patch_hooks(model: torch.nn.Module, patches: Sequence[Patch], passes: PositionTracker) -> list[Any]:
    """Put activations in the place of what layers give, and return the handles of the hooks that do.

    They come before every other hook of the layer, so that whoever looks sees what the next layer is given.

    Parameters
    ----------
    passes
        Attached to the model: which tokens a layer works on.
    """
    layers = layers_of(model)
    by_layer: dict[int, dict[int, NDArray[np.float32]]] = {}
    for patch in patches:
        for row, layer in enumerate(patch.layers):
            values = patch.source.values[row]
            by_layer.setdefault(layer, {}).update(zip(patch.positions, values, strict=True))
    return [
        layers[layer].register_forward_hook(_Patching(values, passes), prepend=True)
        for layer, values in by_layer.items()
    ]


class _Patching:
    """The hook of one layer: writes rows of the residual stream wherever their tokens are worked on."""

    def __init__(self, values: dict[int, NDArray[np.float32]], passes: PositionTracker) -> None:
        self.positions = torch.tensor(list(values))
        self.values = torch.from_numpy(np.stack(list(values.values())))
        self.passes = passes

    def __call__(self, _module: torch.nn.Module, _args: Any, output: Any) -> Any:
        hidden = output[0] if isinstance(output, tuple) else output
        here = self.passes.queries(hidden.shape[1])
        # [rows, columns, patched]: which column of which sequence is which of the patched tokens
        row, column, which = (here[:, :, None] == self.positions).nonzero(as_tuple=True)
        if not len(which):
            return None
        made = hidden.clone()
        values = self.values[which].to(hidden.device, hidden.dtype)
        if len(here) == 1:
            made[:, column] = values
        else:
            made[row, column] = values
        return (made, *output[1:]) if isinstance(output, tuple) else made


class ActivationProbe:
    """A probe of `gemma_lab.trace.probes.recorder` for the residual stream at chosen tokens of one sequence."""

    def __init__(self, layers: tuple[int, ...], positions: tuple[int, ...], width: int) -> None:
        self.layers, self.positions = layers, np.asarray(positions)
        self._values = np.full((len(layers), len(positions), width), np.nan, dtype=np.float32)
        self._start, self._length = 0, 0

    def attach(self, model: torch.nn.Module, hooks: ExitStack) -> None:
        """Register hooks on the layers (`gemma_lab.trace.probes.recorder.Probe`)."""
        hooks.callback(decoder_of(model).register_forward_pre_hook(_whole, with_kwargs=True).remove)
        layers = layers_of(model)
        for row, layer in enumerate(self.layers):
            hooks.callback(layers[layer].register_forward_hook(partial(self._take, row)).remove)

    def begin(self, seen: Pass) -> None:
        """Take note that a pass begins."""
        self._length = seen.length

    def end(self, seen: Pass) -> None:
        """Take note that a pass ends."""
        self._start += seen.length

    def abandon(self) -> None:
        """Forget the pass that was under way; the next one writes over what it left."""
        self._length = 0

    def result(self) -> NDArray[np.float32]:
        """Return the activations.

        Raises
        ------
        BadTrace
            If some were not read.
        """
        read = np.isfinite(self._values).all(axis=-1)
        if not read.all():
            raise unread(int(read.sum()), read.size)
        return self._values

    def _take(self, row: int, _module: torch.nn.Module, _args: Any, output: Any) -> None:
        hidden = output[0] if isinstance(output, tuple) else output
        # the last columns of the pass, where it was sliced to them
        first = self._start + self._length - hidden.shape[1]
        places = np.flatnonzero((self.positions >= first) & (self.positions < first + hidden.shape[1]))
        if len(places):
            taken = hidden[0, torch.as_tensor(self.positions[places] - first, device=hidden.device)]
            self._values[row, places] = taken.detach().float().cpu().numpy()


def _whole(
    _decoder: torch.nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]] | None:
    """Let a KV-shared tail read every token: transformers from 5.23 on hands it the last ones alone."""
    if type(kwargs.get("logits_to_keep")) is int:
        return args, {**kwargs, "logits_to_keep": 0}
    return None

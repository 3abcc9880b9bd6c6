"""Add steering vectors to the residual stream of a running model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch

from ...models.loading.restore import RestoreStack
from ..probes.model_modules import layers_of
from ..probes.positions import PositionTracker
from .steering import Steering

if TYPE_CHECKING:
    from .attention_knockout import Span


def hook_steerings(
    model: torch.nn.Module,
    steerings: Sequence[Steering],
    positions: PositionTracker,
    restore: RestoreStack,
) -> None:
    """Register the hooks that add directions to what layers return; a strength of 0 registers none.

    They come before every other hook of a layer but those of patches, which are registered after them.

    Parameters
    ----------
    positions
        Attached to the model.
    restore
        Removes the hooks.
    """
    by_layer: dict[int, list[tuple[Span | None, torch.Tensor]]] = {}
    for steering in steerings:
        if not steering.strength:
            continue
        vectors = torch.from_numpy(steering.direction.vectors * steering.strength)
        for layer, vector in zip(steering.layers, vectors, strict=True):
            by_layer.setdefault(layer, []).append((steering.tokens, vector))
    layers = layers_of(model)
    for layer, terms in by_layer.items():
        restore.hook(layers[layer], ActivationAddition(terms, positions), prepend=True)


class ActivationAddition:
    """The forward hook of one layer that adds vectors to the residual stream of some tokens or of all.

    Parameters
    ----------
    terms
        Spans of tokens, None for all, and what is added to them, float32 ``[width]``.
    tracker
        The positions of the current pass.
    """

    def __init__(self, terms: Sequence[tuple[Span | None, torch.Tensor]], tracker: PositionTracker) -> None:
        self._everywhere = [vector for span, vector in terms if span is None]
        self._spans = [(span, vector) for span, vector in terms if span is not None]
        self._tracker = tracker

    def __call__(self, _module: torch.nn.Module, _args: Any, output: Any) -> Any:
        """Return the layer's output with the vectors added; None where no token is concerned."""
        hidden = output[0] if isinstance(output, tuple) else output
        added = sum(self._everywhere) if self._everywhere else None
        if self._spans:
            current = self._tracker.queries(hidden.shape[1])
            for (start, stop), vector in self._spans:
                inside = (current >= start) & (current < (1 << 62 if stop is None else stop))
                if inside.any():
                    term = inside[:, :, None] * vector
                    added = term if added is None else added + term
        if added is None:
            return None
        moved = (hidden.float() + torch.as_tensor(added).to(hidden.device)).to(hidden.dtype)
        return (moved, *output[1:]) if isinstance(output, tuple) else moved

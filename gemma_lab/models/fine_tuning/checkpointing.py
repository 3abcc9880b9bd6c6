"""Gradient checkpointing of Gemma 4's layers for the length of a block."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from functools import partial
from typing import Any

import torch
from torch.utils.checkpoint import checkpoint

from ..loading.restore import RestoreStack

_MISSING = object()


@contextlib.contextmanager
def checkpointed(model: torch.nn.Module) -> Iterator[None]:
    """Recompute layers for the gradients instead of keeping their activations, within a block.

    The variant of torch without re-entrance is used: KV-shared layers (E2B, E4B) read keys and values that an
    earlier layer leaves beside its output, and the other variant loses the gradients through them. Only the
    layers are set to training mode, which has no other effect on them: Gemma 4 trains without dropout.
    """
    from transformers.modeling_layers import GradientCheckpointingLayer

    function = partial(checkpoint, use_reentrant=False)
    values = {"gradient_checkpointing": True, "_gradient_checkpointing_func": function, "training": True}
    with RestoreStack() as restore:
        for layer in model.modules():
            if isinstance(layer, GradientCheckpointingLayer):
                for name, value in values.items():
                    restore.undo(_put_back, layer, name, vars(layer).get(name, _MISSING))
                    object.__setattr__(layer, name, value)
        yield


def _put_back(layer: Any, name: str, value: Any) -> None:
    if value is _MISSING:
        vars(layer).pop(name, None)
    else:
        object.__setattr__(layer, name, value)

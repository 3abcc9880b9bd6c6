"""Ablate query heads: what they attended to no longer reaches the residual stream."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from ...models.loading.restore import RestoreStack
from ..probes.model_modules import attentions


@dataclass(frozen=True)
class LayerHeads:
    """The query heads of one layer.

    Attributes
    ----------
    output
        The projection that adds them up (``o_proj``): its input is their outputs, one after the other.
    count
        Number of heads. Heads of a group share keys and values, but each has a separate output, also where
        keys and values come from another layer or are the same.
    """

    output: torch.nn.Module
    count: int


def heads_of(model: torch.nn.Module) -> dict[int, LayerHeads]:
    """Return the query heads of every decoder layer whose outputs can be separated, by layer."""
    by_layer = {}
    for layer, module in attentions(model).items():
        output: Any = getattr(module, "o_proj", None)
        width = getattr(module, "head_dim", None)
        features = getattr(output, "in_features", None)
        if output is not None and width and features and features % width == 0:
            by_layer[layer] = LayerHeads(output, features // width)
    return by_layer


def hook_heads(model: torch.nn.Module, ablated: Mapping[int, tuple[int, ...]], restore: RestoreStack) -> None:
    """Register the hooks that zero the outputs of heads, by layer; `restore` removes them.

    They come before every other hook of the projection, so that probes record what it is given.
    """
    for layer, heads in heads_of(model).items():
        if ablated.get(layer):
            restore.hook(heads.output, ZeroHeads(heads.count, ablated[layer]), before=True, prepend=True)


class ZeroHeads:
    """The forward pre-hook of an output projection that zeroes the outputs of some heads."""

    def __init__(self, count: int, ablated: tuple[int, ...]) -> None:
        self.count, self.ablated = count, list(ablated)

    def __call__(self, _module: torch.nn.Module, args: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
        """Return the projection's arguments with zeroed heads, in a copy: the model may use its own again."""
        heads = args[0].reshape(*args[0].shape[:-1], self.count, -1).clone()  # [batch, tokens, heads, dim]
        heads[..., self.ablated, :] = 0
        return heads.flatten(-2), *args[1:]

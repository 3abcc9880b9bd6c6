"""Switching query heads off: what they attended to no longer reaches the residual stream."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from ..trace.probes.model_modules import attentions


@dataclass(frozen=True)
class Heads:
    """The query heads of one layer.

    Attributes
    ----------
    output
        The projection that adds them up (``o_proj``): its input is their outputs, one after the other.
    count
        How many there are. Those of a group share keys and values, but each has an output of its own, also
        where keys and values come from another layer or are the same.
    """

    output: torch.nn.Module
    count: int


def heads_of(model: torch.nn.Module) -> dict[int, Heads]:
    """Return the query heads of every layer of the decoder whose outputs can be told apart, by layer."""
    found = {}
    for layer, module in attentions(model).items():
        output: Any = getattr(module, "o_proj", None)
        width = getattr(module, "head_dim", None)
        features = getattr(output, "in_features", None)
        if output is not None and width and features and features % width == 0:
            found[layer] = Heads(output, features // width)
    return found


def head_hooks(model: torch.nn.Module, off: Mapping[int, tuple[int, ...]]) -> list[Any]:
    """Zero the outputs of heads, by layer, and return the handles of the hooks that do.

    They come before every other hook of the projection, so that whoever looks sees what it is given.
    """
    heads = heads_of(model) if off else {}
    return [
        heads[layer].output.register_forward_pre_hook(_Silence(heads[layer].count, listed), prepend=True)
        for layer, listed in off.items()
    ]


class _Silence:
    def __init__(self, count: int, off: tuple[int, ...]) -> None:
        self.count, self.off = count, list(off)

    def __call__(self, _module: torch.nn.Module, args: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
        given = args[0]
        # a copy: the model's own tensor may be used again
        heads = given.reshape(*given.shape[:-1], self.count, -1).clone()
        heads[..., self.off, :] = 0
        return heads.flatten(-2), *args[1:]

"""The base class of attention observers, and the description of an observed attention module."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch


class AttentionTap:
    """Base class of attention observers; override only the methods you need."""

    def edit_mask(
        self,
        layer: int,
        module: torch.nn.Module,
        query: torch.Tensor,
        key: torch.Tensor,
        mask: torch.Tensor | None,
    ) -> torch.Tensor | None:
        """Return the mask that a decoder layer is to use; called before the layer attends.

        Parameters
        ----------
        layer, module
            The layer's index and its attention module.
        query, key
            ``[batch, heads, queries, dim]`` and ``[batch, kv_heads, keys, dim]``, rotated, as the layer uses
            them.
        mask
            ``[batch, 1 or heads, queries, keys]``: boolean (True is visible) or added to the scores. None:
            query *i* sees the keys up to *i*, a single query sees all. Layers share their masks, so return a
            new tensor to change one.
        """
        del layer, module, query, key
        return mask

    def on_attention(
        self,
        layer: int,
        module: torch.nn.Module,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        mask: torch.Tensor | None,
        is_causal: bool,
        positions: torch.Tensor | None,
        scaling: float | None,
    ) -> None:
        """Observe what a decoder layer attended with, after it attended; the tensors must not be changed.

        Parameters
        ----------
        layer, module, query, key, mask
            As for `edit_mask`; the mask is the one that was used.
        value
            ``[batch, kv_heads, keys, dim]``.
        is_causal
            Without a mask, whether query *i* saw only keys up to *i*.
        positions
            Position ids of the queries if the model passed them on, ``[1 or batch, queries]``.
        scaling
            Factor of the scores; None is one over the square root of the head dimension.
        """

    def on_output(self, layer: int, output: torch.Tensor) -> None:
        """Observe the output of the same call: ``[batch, queries, heads, dim]``, before the projection."""

    def on_tower_attention(
        self,
        tower: str,
        layer: int,
        module: torch.nn.Module,
        query: torch.Tensor,
        key: torch.Tensor,
        mask: torch.Tensor | None,
        scaling: float | None,
    ) -> None:
        """Observe what a layer of a tower (``"vision"``) attended with, as `on_attention` does."""


@dataclass
class Tap:
    """One attention module that is observed.

    Attributes
    ----------
    layer, tower
        Its layer's index, and its tower; None is the decoder.
    stock
        The function that computes the output.
    observers
        In the order in which they were attached.
    """

    layer: int
    tower: str | None
    stock: Callable[..., Any]
    observers: list[AttentionTap] = field(default_factory=list)

"""Track which tokens of their sequences a model's layers are working on, for edits of positions."""

from __future__ import annotations

import inspect
from functools import partial
from typing import Any

import torch

from ...models.loading.restore import RestoreStack
from .model_modules import entry_modules
from .padding import real_positions
from .recorder import cached

#: Position of padding.
PADDING = -1


class PositionTracker:
    """The positions of the current forward pass: of a prompt, of a chunk of it, or of a decoding step.

    A position counts the tokens of a sequence from 0, padding left out: the rows of ``trace.tokens``.
    """

    def __init__(self) -> None:
        self._depth: int | None = None  # of the module whose call is the pass
        self._end = 0  # columns that there are with this pass
        self._real: torch.Tensor | None = None  # bool [rows, columns]

    def attach(self, model: torch.nn.Module, restore: RestoreStack) -> None:
        """Register hooks on the model's entry modules; `restore` removes them."""
        for depth, module in enumerate(entry_modules(model)):
            restore.hook(module, partial(self._begin, depth), before=True, with_kwargs=True, prepend=True)
            restore.hook(module, partial(self._finish, depth), always_call=True)

    def queries(self, count: int) -> torch.Tensor:
        """Return the positions of the last `count` columns, int64 ``[1 or rows, count]`` on the CPU.

        They can be fewer than the pass has: transformers runs only the last tokens of a prompt through
        KV-shared layers.
        """
        return self._positions()[:, self._end - count :]

    def keys(self, count: int) -> torch.Tensor:
        """Return the positions of a layer's `count` keys, int64 ``[1 or rows, count]`` on the CPU.

        A growing cache holds the last columns. One of a fixed size holds them from its first slot on until it
        is full; a slot without a token has a position beyond all tokens, and is masked anyway.
        """
        positions = self._positions()
        if count <= self._end:
            return positions[:, self._end - count :]
        beyond = torch.arange(self._end, count).expand(len(positions), -1)
        return torch.cat([positions, beyond], dim=1)

    def _positions(self) -> torch.Tensor:
        if self._real is None:
            return torch.arange(self._end)[None]
        return (self._real.cumsum(-1) - 1).masked_fill(~self._real, PADDING)

    def _begin(
        self, depth: int, module: torch.nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> None:
        if self._depth is not None and depth > self._depth:
            return  # the same pass, further in
        named = inspect.signature(module.forward).bind_partial(*args).arguments if args else {}
        inputs = {**named, **kwargs}
        tokens = inputs.get("input_ids")
        tokens = inputs.get("inputs_embeds") if tokens is None else tokens
        if tokens is None:
            return  # the model itself raises
        self._depth = depth
        self._end = (cached(inputs) or 0) + int(tokens.shape[1])
        self._real = real_positions(inputs.get("attention_mask"), rows=int(tokens.shape[0]), end=self._end)

    def _finish(self, depth: int, _module: torch.nn.Module, _args: Any, _output: Any) -> None:
        if depth == self._depth:
            self._depth = None

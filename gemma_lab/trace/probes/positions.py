"""Which tokens of their sequences a model's layers are working on: what an edit of positions has to know."""

from __future__ import annotations

import inspect
from functools import partial
from typing import Any

import torch

from .model_modules import entry_modules
from .recorder import cached

#: Position of padding.
PADDING = -1


class PositionTracker:
    """The positions of the forward pass under way, in a whole prompt, in pieces of one, in decoding.

    A position counts the tokens of a sequence from 0, padding left out: the rows of ``trace.tokens``.
    """

    def __init__(self) -> None:
        self._depth: int | None = None  # of the module whose call is the pass
        self._end = 0  # columns that there are with this pass
        self._real: torch.Tensor | None = None  # bool [rows, columns]

    def attach(self, model: torch.nn.Module) -> list[Any]:
        """Register hooks on a model and return their handles."""
        handles = []
        for depth, module in enumerate(entry_modules(model)):
            before = partial(self._begin, depth)
            handles.append(module.register_forward_pre_hook(before, with_kwargs=True, prepend=True))
            after = partial(self._finish, depth)
            handles.append(module.register_forward_hook(after, always_call=True))
        return handles

    def queries(self, count: int) -> torch.Tensor:
        """Return the positions of the last `count` columns, int64 ``[1 or rows, count]`` on the CPU.

        They are what a layer works on: transformers hands the last tokens of a prompt alone to the layers of
        a KV-shared tail.
        """
        return self._positions()[:, self._end - count :]

    def keys(self, count: int) -> torch.Tensor:
        """Return the positions of a layer's `count` keys, int64 ``[1 or rows, count]`` on the CPU.

        A growing cache holds the last columns. One of a fixed size holds them from its first place on until
        it is full; what no token has yet has a position beyond all tokens, and is masked anyway.
        """
        whole = self._positions()
        if count <= self._end:
            return whole[:, self._end - count :]
        beyond = torch.arange(self._end, count).expand(len(whole), -1)
        return torch.cat([whole, beyond], dim=1)

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
        given = {**named, **kwargs}
        taken = given.get("input_ids")
        taken = given.get("inputs_embeds") if taken is None else taken
        if taken is None:
            return  # the model itself will say so
        self._depth = depth
        self._end = (cached(given) or 0) + int(taken.shape[1])
        self._real = _real(given.get("attention_mask"), self._end)

    def _finish(self, depth: int, _module: torch.nn.Module, _args: Any, _output: Any) -> None:
        if depth == self._depth:
            self._depth = None


def _real(mask: Any, end: int) -> torch.Tensor | None:
    """Return which columns are not padding; None if all are.

    ``generate`` with a static cache makes the masks of the layers beforehand. In those of full attention the
    last row sees every earlier column but padding.
    """
    if isinstance(mask, dict):
        mask = mask.get("full_attention")
    if not isinstance(mask, torch.Tensor):
        return None
    if mask.ndim == 4:
        last = mask[:, 0, -1, :end]
        real = last if last.dtype == torch.bool else last == 0
    else:
        real = mask[:, :end].bool()
    if real.shape[1] < end:  # the mask of a pass alone: what is in the cache was real
        real = torch.nn.functional.pad(real, (end - real.shape[1], 0), value=True)
    return None if bool(real.all()) else real.cpu()

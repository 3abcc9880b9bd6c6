"""Attaching probes to a model and taking every one of them off again, whatever happens in between."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Protocol, Self

import torch

from ..errors import LabError


@dataclass(frozen=True)
class Pass:
    """One forward pass of the model.

    Attributes
    ----------
    rows, length
        Sequences in the batch, and positions that this pass adds to each.
    real
        Which of them are not padding, bool ``[rows, length]``; None when all are.
    """

    rows: int
    length: int
    real: torch.Tensor | None


class Probe(Protocol):
    """Something that watches a model while a `Recorder` is open."""

    def attach(self, model: torch.nn.Module, hooks: ExitStack) -> None:
        """Register hooks on the model; each one's removal goes on `hooks`."""

    def begin(self, seen: Pass) -> None:
        """Take note that a forward pass begins."""

    def end(self, seen: Pass) -> None:
        """Take in what the hooks saw in the pass that ends."""

    def abandon(self) -> None:
        """Forget the pass that was under way: it ended in an exception."""


class Recorder:
    """Keeps probes on a model for the length of a ``with`` block.

    Works around anything that runs the model's own forward: a plain call, ``generate``, a stream in another
    thread, a prompt in chunks, a padded batch. Recorders may be nested. A pass that is interrupted is left
    out as a whole; what was recorded before it stays.

    Parameters
    ----------
    model
        A model of transformers.
    probes
        What to watch.

    Raises
    ------
    LabError
        On entering a recorder that is already open.
    """

    def __init__(self, model: torch.nn.Module, probes: Sequence[Probe]) -> None:
        self.model, self.probes = model, tuple(probes)
        #: Real tokens that whole passes have read, for each sequence of the batch.
        self.lengths: list[int] = []
        self._hooks: ExitStack | None = None
        self._open: Pass | None = None

    def __enter__(self) -> Self:
        if self._hooks is not None:
            raise LabError("This recorder is already open.", hint="Make a second one to nest them.")
        with ExitStack() as hooks:
            for probe in self.probes:
                probe.attach(self.model, hooks)
            before = self.model.register_forward_pre_hook(self._begin, with_kwargs=True)
            hooks.callback(before.remove)
            after = self.model.register_forward_hook(self._end)
            hooks.callback(after.remove)
            self._hooks = hooks.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trail: TracebackType | None
    ) -> None:
        hooks, self._hooks = self._hooks, None
        if hooks is not None:
            hooks.close()
        self._abandon()

    def _begin(self, _module: torch.nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self._abandon()
        self._open = _pass(args, kwargs)
        for probe in self.probes:
            probe.begin(self._open)

    def _end(self, _module: torch.nn.Module, _args: tuple[Any, ...], _output: Any) -> None:
        seen, self._open = self._open, None
        if seen is None:
            return
        for probe in self.probes:
            probe.end(seen)
        real = [seen.length] * seen.rows if seen.real is None else seen.real.sum(-1).tolist()
        self.lengths += [0] * (seen.rows - len(self.lengths))
        for row, count in enumerate(real):
            self.lengths[row] += count

    def _abandon(self) -> None:
        if self._open is not None:
            self._open = None
            for probe in self.probes:
                probe.abandon()


def _pass(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Pass:
    ids = kwargs.get("input_ids", args[0] if args else None)
    taken = ids if ids is not None else kwargs.get("inputs_embeds")
    if taken is None:
        raise LabError(
            "The model was called with neither input_ids nor inputs_embeds.", hint="Pass one by name."
        )
    rows, length = taken.shape[:2]
    mask = kwargs.get("attention_mask", args[1] if len(args) > 1 else None)
    if not isinstance(mask, torch.Tensor) or mask.ndim != 2:
        return Pass(rows, length, None)  # no padding mask: a 4-D mask is a caller's own and says no padding
    real = mask[:, -length:].bool()
    return Pass(rows, length, None if bool(real.all()) else real)

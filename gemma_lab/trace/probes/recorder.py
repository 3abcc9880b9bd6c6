"""Attaching probes to a model and taking every one of them off again, whatever happens in between."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from types import TracebackType
from typing import Any, Protocol, Self

import torch

from ...errors import BadTrace, LabError
from ...models.loading.compat_cache import cache_in
from .model_modules import entry_modules


@dataclass(frozen=True)
class Pass:
    """One forward pass of the model.

    Attributes
    ----------
    rows, length
        Sequences in the batch, and positions that this pass adds to each.
    real
        Which of them are not padding, bool ``[rows, length]`` on the CPU; None when all are.
    cached
        Positions that the cache holds before it.
    ids
        What is read, ``[rows, length]``; None when embeddings are.
    """

    rows: int
    length: int
    real: torch.Tensor | None
    cached: int = 0
    ids: torch.Tensor | None = None


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

    Works around anything that runs the model's own forward: a plain call of the model or of its decoder,
    ``generate``, a stream in another thread, a prompt in chunks, a padded batch. Each pass adds to the
    sequences of its batch; padding is left out. Recorders may be nested. A pass that is interrupted is left
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
        On entering a recorder that is already open, and when the model is called with nothing to read.
    BadTrace
        While recording, if a pass does not continue where the last one ended (as speculative decoding and
        rewound caches do), or if it cannot be told what is padding.

    Notes
    -----
    One run of the model at a time: a lab's lock sees to that. In a batch, what ``generate`` appends to
    sequences that have ended is recorded like any other token.
    """

    def __init__(self, model: torch.nn.Module, probes: Sequence[Probe]) -> None:
        self.model, self.probes = model, tuple(probes)
        #: Real tokens that whole passes have read, for each sequence of the batch.
        self.lengths: list[int] = []
        self._hooks: ExitStack | None = None
        self._open: tuple[int, Pass] | None = None  # the depth of the module that was called, and its pass
        self._expected: int | None = None  # positions in the cache that the next pass brings along

    def __enter__(self) -> Self:
        if self._hooks is not None:
            raise LabError("This recorder is already open.", hint="Make a second one to nest them.")
        with ExitStack() as hooks:
            for probe in self.probes:
                probe.attach(self.model, hooks)
            for depth, module in enumerate(entry_modules(self.model)):
                before = partial(self._begin, depth)
                hooks.callback(module.register_forward_pre_hook(before, with_kwargs=True).remove)
                after = module.register_forward_hook(partial(self._end, depth), prepend=True)
                hooks.callback(after.remove)  # the inner of two recorders is the first to end a pass
            self._hooks = hooks.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trail: TracebackType | None
    ) -> None:
        hooks, self._hooks = self._hooks, None
        if hooks is not None:
            hooks.close()
        self._abandon()

    def _begin(
        self, depth: int, module: torch.nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> None:
        if self._open is not None and depth > self._open[0]:
            return  # the same pass, further in
        self._abandon()
        named = inspect.signature(module.forward).bind_partial(*args).arguments if args else {}
        given = {**named, **kwargs}
        held = cached(given)
        seen = _pass(given, held)
        self._check(seen, held)
        self._open = depth, seen
        for probe in self.probes:
            probe.begin(seen)

    def _end(self, depth: int, _module: torch.nn.Module, _args: tuple[Any, ...], _output: Any) -> None:
        if self._open is None or depth != self._open[0]:
            return
        seen = self._open[1]
        for probe in self.probes:
            probe.end(seen)
        self._open = None
        real = [seen.length] * seen.rows if seen.real is None else seen.real.sum(-1).tolist()
        self.lengths = [
            count + more for count, more in zip(self.lengths or [0] * seen.rows, real, strict=True)
        ]
        self._expected = (self._expected or 0) + seen.length

    def _check(self, seen: Pass, cached: int | None) -> None:
        """Raise `BadTrace` unless a pass continues what was recorded."""
        if self.lengths and len(self.lengths) != seen.rows:
            raise BadTrace(
                f"A pass of {seen.rows} sequences came after passes of {len(self.lengths)}.",
                hint="Give each batch a recorder and probes of its own. Beam search cannot be recorded.",
            )
        if cached and self._expected is not None and cached != self._expected:
            raise BadTrace(
                f"The cache holds {cached:,} positions where {self._expected:,} were read: it was rewound.",
                hint="Speculative decoding cannot be recorded; start again with an empty cache.",
            )
        if cached is not None:
            self._expected = cached

    def _abandon(self) -> None:
        if self._open is not None:
            self._open = None
            for probe in self.probes:
                probe.abandon()


def cached(given: dict[str, Any]) -> int | None:
    """Return how many positions the cache holds before the pass; None without a cache."""
    cache = cache_in(given)
    return None if cache is None else int(cache.get_seq_length())


def _pass(given: dict[str, Any], cached: int | None) -> Pass:
    taken = given.get("input_ids")
    taken = given.get("inputs_embeds") if taken is None else taken
    if taken is None:
        raise LabError(
            "The model was called with neither input_ids nor inputs_embeds.", hint="Pass one of them."
        )
    rows, length = taken.shape[:2]
    real = _real(given.get("attention_mask"), rows=rows, length=length, cached=cached or 0)
    real = None if real is None or bool(real.all()) else real
    return Pass(rows, length, real, cached or 0, given.get("input_ids"))


def _real(mask: Any, *, rows: int, length: int, cached: int) -> torch.Tensor | None:
    """Return which positions of a pass are not padding, as far as a mask says so; None if all are.

    ``generate`` with a static cache makes the masks of the layers beforehand. In those of full attention the
    last position sees every earlier one but padding.
    """
    if isinstance(mask, dict):
        mask = mask.get("full_attention")
    if mask is None or (rows == 1 and length == 1):
        return None
    if isinstance(mask, torch.Tensor) and mask.ndim == 2:
        return mask[:, -length:].bool().cpu()
    if isinstance(mask, torch.Tensor) and mask.ndim == 4:
        last = mask[:, 0, -1, cached : cached + length]
        return (last if last.dtype == torch.bool else last == 0).expand(rows, -1).cpu()
    if rows == 1:
        return None
    raise BadTrace(
        f"It cannot be told which positions are padding from an attention mask of {type(mask).__name__}.",
        hint='Load the model with attn_implementation="sdpa", or record one sequence at a time.',
    )

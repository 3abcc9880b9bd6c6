"""Attach probes to a model, and remove all of them in any case."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol, Self

import torch

from ...errors import BadTrace, LabError
from ...models.loading.compat_cache import cache_in
from ...models.loading.restore import RestoreStack
from .model_modules import entry_modules
from .padding import real_positions


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
        The input ids, ``[rows, length]``; None where the model is called with embeddings.
    """

    rows: int
    length: int
    real: torch.Tensor | None
    cached: int = 0
    ids: torch.Tensor | None = None


class Probe(Protocol):
    """Interface of a probe, which observes a model while a `Recorder` is open."""

    def attach(self, model: torch.nn.Module, restore: RestoreStack) -> None:
        """Register hooks on the model; `restore` removes them."""

    def begin(self, seen: Pass) -> None:
        """Start a forward pass."""

    def end(self, seen: Pass) -> None:
        """Keep what the hooks observed in the pass that ends."""

    def abandon(self) -> None:
        """Discard the current pass: it ended in an exception."""


class Recorder(RestoreStack):
    """Keep probes on a model for the length of a ``with`` block.

    Works around anything that runs the model's own forward: a plain call of the model or of its decoder,
    ``generate``, a stream in another thread, a prompt in chunks, a padded batch. Each pass adds to the
    sequences of its batch; padding is left out. Recorders may be nested. A pass that is interrupted is left
    out completely; what was recorded before it stays.

    Parameters
    ----------
    model
        A model of transformers.
    probes
        What to record.

    Attributes
    ----------
    lengths : list of int
        Tokens that complete passes have read, for each sequence of the batch.
    consistent : bool
        Whether all probes hold those tokens and no others. False after an exception or an interrupt while the
        probes were keeping a pass: some of them may then hold it, and others not.

    Raises
    ------
    LabError
        On entering a recorder that is already open, and when the model is called without input.
    BadTrace
        While recording, if a pass does not continue where the last one ended (as speculative decoding and
        rewound caches do), or if padding cannot be read from the attention mask.

    Notes
    -----
    One run of the model at a time: `LoadedModel.lock` ensures it. In a batch, what ``generate`` appends to
    sequences that have ended is recorded like any other token. In bfloat16, a prompt in a padded batch
    differs from the same prompt alone by rounding.
    """

    def __init__(self, model: torch.nn.Module, probes: Sequence[Probe]) -> None:
        super().__init__()
        self.model, self.probes = model, tuple(probes)
        self.lengths: list[int] = []
        self.consistent = True
        self._entered = False
        self._open: tuple[int, Pass] | None = None  # the depth of the module that was called, and its pass
        self._expected: int | None = None  # positions in the cache that the next pass should find

    def __enter__(self) -> Self:
        if self._entered:
            raise LabError("This recorder is already open.", hint="Create a second one to nest them.")
        return self.apply(self._begin)

    def _begin(self) -> Self:
        super()._begin()
        self.undo(self._leave)
        self._entered = True
        for probe in self.probes:
            probe.attach(self.model, self)
        for depth, module in enumerate(entry_modules(self.model)):
            self.hook(module, partial(self._begin_pass, depth), before=True, with_kwargs=True)
            # prepended: the inner of two recorders is the first to end a pass
            self.hook(module, partial(self._finish_pass, depth), prepend=True)
        return self

    def _leave(self) -> None:
        self._entered = False
        self._abandon()

    def _begin_pass(
        self, depth: int, module: torch.nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> None:
        if self._open is not None and depth > self._open[0]:
            return  # the same pass, further in
        self._abandon()
        named = inspect.signature(module.forward).bind_partial(*args).arguments if args else {}
        inputs = {**named, **kwargs}
        before = cached(inputs)
        seen = _pass(inputs, before)
        self._check(seen, before)
        self._open = depth, seen
        for probe in self.probes:
            probe.begin(seen)

    def _finish_pass(
        self, depth: int, _module: torch.nn.Module, _args: tuple[Any, ...], _output: Any
    ) -> None:
        if self._open is None or depth != self._open[0]:
            return
        seen = self._open[1]
        self.consistent = False
        for probe in self.probes:
            probe.end(seen)
        self._open = None
        real = [seen.length] * seen.rows if seen.real is None else seen.real.sum(-1).tolist()
        self.lengths = [
            count + more for count, more in zip(self.lengths or [0] * seen.rows, real, strict=True)
        ]
        self._expected = (self._expected or 0) + seen.length
        self.consistent = True

    def _check(self, seen: Pass, cached: int | None) -> None:
        """Raise `BadTrace` unless a pass continues what was recorded."""
        if self.lengths and len(self.lengths) != seen.rows:
            raise BadTrace(
                f"A pass of {seen.rows} sequences came after passes of {len(self.lengths)}.",
                hint="Use a new recorder and new probes for each batch. Beam search cannot be recorded.",
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
            for probe in self.probes:
                probe.abandon()
            self._open = None


def cached(inputs: dict[str, Any]) -> int | None:
    """Return how many positions the cache holds before the pass; None without a cache."""
    cache = cache_in(inputs)
    return None if cache is None else int(cache.get_seq_length())


def _pass(inputs: dict[str, Any], cached: int | None) -> Pass:
    tokens = inputs.get("input_ids")
    tokens = inputs.get("inputs_embeds") if tokens is None else tokens
    if tokens is None:
        raise LabError(
            "The model was called with neither input_ids nor inputs_embeds.", hint="Pass one of them."
        )
    rows, length = tokens.shape[:2]
    real = None
    if rows > 1 or length > 1:  # a single token is no padding
        real = real_positions(inputs.get("attention_mask"), rows=rows, end=(cached or 0) + length)
        real = None if real is None or bool(real[:, -length:].all()) else real[:, -length:]
    return Pass(rows, length, real, cached or 0, inputs.get("input_ids"))

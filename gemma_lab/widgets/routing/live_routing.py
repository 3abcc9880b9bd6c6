"""Following a model while it runs: the tokens it has read so far and their routing, pass by pass."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any

from ...models.chat.logits_processors import Stopped
from ...trace.probes.recorder import Pass
from ...trace.probes.routing import RoutingProbe
from ...trace.tokens.table import TokenTable

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from contextlib import ExitStack

    import torch
    from PIL.Image import Image

    from ...lab import Lab
    from ...trace.records.routing import Routing

#: Seconds between two looks at most this often: what a screen can show, and little of the model's time.
_INTERVAL = 1 / 20


class Follow:
    """A probe for `Recorder` that hands on what the model has read, and can make it stop.

    Parameters
    ----------
    lab
        The model that runs.
    heard
        Called between two passes, in the thread of the model, with the tokens and the routing so far.
    halt
        When it is set the model is left after the pass under way; what it has said stays.
    images
        The pictures of the prompt.
    """

    def __init__(
        self,
        lab: Lab,
        heard: Callable[[TokenTable, Routing], None],
        *,
        halt: threading.Event,
        images: Sequence[Image] = (),
    ) -> None:
        self._lab, self._heard, self._halt, self._images = lab, heard, halt, images
        self._probe = RoutingProbe()
        self._ids: list[int] = []
        self._prompt = 0
        self._grids: Any = None
        self._told = 0.0

    def attach(self, model: torch.nn.Module, hooks: ExitStack) -> None:
        """Register the routing probe's hooks, and one that reads the ids; see `Probe`."""
        self._probe.attach(model, hooks)
        reading = model.register_forward_pre_hook(self._read, with_kwargs=True)
        hooks.callback(reading.remove)

    def begin(self, seen: Pass) -> None:
        """Start a pass; see `Probe`."""
        self._probe.begin(seen)

    def abandon(self) -> None:
        """Forget a pass; see `Probe`."""
        self._probe.abandon()

    def end(self, seen: Pass) -> None:
        """Hand on what is there, at most twenty times a second; see `Probe`."""
        self._probe.end(seen)
        self._ids += self._reading
        if seen.length > 1:
            self._prompt = len(self._ids)
        if self._halt.is_set():
            raise Stopped
        if time.monotonic() - self._told >= _INTERVAL:
            self._tell()

    def _read(self, _model: torch.nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        ids = kwargs.get("input_ids", args[0] if args else None)
        self._reading = [] if ids is None else ids[0].tolist()
        grids = kwargs.get("image_position_ids")
        if grids is not None:
            self._grids = grids.cpu().numpy()

    def _tell(self) -> None:
        routing = self._probe.result()
        if routing is None or len(routing) != len(self._ids):
            return  # a dense model, or inputs that are no ids: the trace at the end says so
        table = TokenTable.of(
            self._ids,
            processor=self._lab.processor,
            prompt_length=self._prompt,
            inputs={} if self._grids is None else {"image_position_ids": self._grids},
            images=self._images,
        )
        self._heard(table, routing)
        self._told = time.monotonic()

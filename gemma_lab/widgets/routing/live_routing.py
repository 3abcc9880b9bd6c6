"""The routing of a model while it runs: the tokens read so far and their experts, pass by pass."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any

from ...models.chat.logits_processors import Stopped
from ...models.tokens.table import TokenTable
from ...trace.probes.recorder import Pass
from ...trace.probes.routing import RoutingProbe

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import torch
    from PIL.Image import Image

    from ...lab import Lab
    from ...models.loading.restore import RestoreStack
    from ...trace.records.routing import Routing

#: Shortest time between two reports, in seconds: 20 per second are enough for a screen.
_INTERVAL = 1 / 20


class LiveRouting:
    """A probe for `Recorder` that reports the routing after each pass, and can stop the model.

    Parameters
    ----------
    lab
        The model.
    report
        Called between two passes, in the thread of the model, with the tokens and the routing so far.
    halt
        When it is set the model stops after the current pass; the tokens so far stay.
    images
        The images of the prompt.
    """

    def __init__(
        self,
        lab: Lab,
        report: Callable[[TokenTable, Routing], None],
        *,
        halt: threading.Event,
        images: Sequence[Image] = (),
    ) -> None:
        self._lab = lab
        self._report = report
        self._halt = halt
        self._images = images
        self._probe = RoutingProbe()
        self._ids: list[int] = []
        self._prompt = 0
        self._grids: Any = None
        self._reported = 0.0

    def attach(self, model: torch.nn.Module, restore: RestoreStack) -> None:
        """Register the routing probe's hooks, and one that reads the ids; see `Probe`."""
        self._probe.attach(model, restore)
        restore.hook(model, self._read, before=True, with_kwargs=True)

    def begin(self, seen: Pass) -> None:
        """Start a pass; see `Probe`."""
        self._probe.begin(seen)

    def abandon(self) -> None:
        """Forget a pass; see `Probe`."""
        self._probe.abandon()

    def end(self, seen: Pass) -> None:
        """Report the routing so far, at most 20 times per second; see `Probe`."""
        self._probe.end(seen)
        self._ids += self._reading
        if seen.length > 1:
            self._prompt = len(self._ids)
        if self._halt.is_set():
            raise Stopped
        if time.monotonic() - self._reported >= _INTERVAL:
            self._send_report()

    def _read(self, _model: torch.nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        ids = kwargs.get("input_ids", args[0] if args else None)
        self._reading = [] if ids is None else ids[0].tolist()
        grids = kwargs.get("image_position_ids")
        if grids is not None:
            self._grids = grids.cpu().numpy()

    def _send_report(self) -> None:
        routing = self._probe.result()
        if routing is None or len(routing) != len(self._ids):
            return  # a dense model, or input embeddings without ids: the trace raises at the end
        table = TokenTable.of(
            self._ids,
            processor=self._lab.processor,
            prompt_length=self._prompt,
            inputs={} if self._grids is None else {"image_position_ids": self._grids},
            images=self._images,
        )
        self._report(table, routing)
        self._reported = time.monotonic()

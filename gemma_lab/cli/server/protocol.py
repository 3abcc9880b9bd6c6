"""uvicorn's HTTP protocol with limits on clients that send no request, or do not read their answer."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from typing import Any

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from .limits import Limits


def protocol_class(limits: Limits) -> type[H11Protocol]:
    """Return uvicorn's protocol on h11 with two timers: for a request's headers, and for unread answers."""

    class ImpatientProtocol(H11Protocol):
        """Disconnects a client that keeps the server waiting."""

        _timer: asyncio.TimerHandle | None = None

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            self._wait(limits.read_timeout)

        def data_received(self, data: bytes) -> None:
            before = self.cycle
            super().data_received(data)
            if self.cycle is not before:  # the headers are complete; the body has a timer of its own
                self._stop()
            elif self._timer is None and (before is None or before.response_complete):
                self._wait(limits.read_timeout)

        def pause_writing(self) -> None:
            super().pause_writing()
            self._wait(limits.write_timeout)

        def resume_writing(self) -> None:
            super().resume_writing()
            self._stop()

        def connection_lost(self, exc: Exception | None) -> None:
            self._stop()
            super().connection_lost(exc)

        def _wait(self, seconds: float) -> None:
            self._stop()
            self._timer = self.loop.call_later(seconds, self.transport.abort)

        def _stop(self) -> None:
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None

    return ImpatientProtocol


class StoppingServer(uvicorn.Server):
    """A server that gives running answers some time when it is stopped, and then ends them with an error.

    Parameters
    ----------
    config
        Of uvicorn.
    stop
        Ends them, called in the event loop's thread.
    grace
        Seconds until then.
    """

    def __init__(self, config: uvicorn.Config, *, stop: Callable[[], None], grace: float) -> None:
        super().__init__(config)
        self._stop, self._grace = stop, grace

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stop listening, and wait for the answers that are left."""
        timer = asyncio.get_running_loop().call_later(self._grace, self._stop)
        try:
            await super().shutdown(sockets)
        finally:
            timer.cancel()


def quiet_log_config() -> dict[str, Any]:
    """Return uvicorn's logging without a line per request: prompts and addresses stay out of the log."""
    from copy import deepcopy

    from uvicorn.config import LOGGING_CONFIG

    config: dict[str, Any] = deepcopy(LOGGING_CONFIG)
    config["loggers"]["uvicorn.error"]["level"] = "WARNING"
    config["loggers"]["gemma_lab.server"] = {"handlers": ["default"], "level": "INFO", "propagate": False}
    return config

"""uvicorn's HTTP protocol with limits on clients that send no request, or do not read their answer."""

from __future__ import annotations

import asyncio
from typing import Any

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


def quiet_log_config() -> dict[str, Any]:
    """Return uvicorn's logging without a line per request: prompts and addresses stay out of the log."""
    from copy import deepcopy

    from uvicorn.config import LOGGING_CONFIG

    config: dict[str, Any] = deepcopy(LOGGING_CONFIG)
    config["loggers"]["uvicorn.error"]["level"] = "WARNING"
    config["loggers"]["gemma_lab.server"] = {"handlers": ["default"], "level": "INFO", "propagate": False}
    return config

"""The answer of a server as a stream of chunks."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Protocol

from ...errors import LabError
from ..chat.request_builder import stop_events
from ..chat.stream import Chunk, ChunkStream
from ..grammar.partial import partial_value
from .answers import Answer

if TYPE_CHECKING:
    from ..chat.request import Request
    from .bodies import Body
    from .http import Connection
    from .reply import ServerReply


class Asked(Protocol):
    """What a stream needs of `gemma_lab.models.remote.model.ServedLanguageModel`."""

    connection: Connection

    def body_of(
        self, request: Request, options: Mapping[str, Any], *, stream: bool, experts: bool = False
    ) -> tuple[str, Body]:
        """Return the page and the body of a request."""

    def refitted(self, request: Request, body: Body, send: Any) -> Any:
        """Send a body, without fields that the server refuses and that can be spared."""

    def reply_of(
        self,
        request: Request,
        answer: Answer,
        *,
        seconds: float,
        first_s: float | None = None,
        stopped: bool = False,
    ) -> ServerReply:
        """Return the reply to a request."""


class ServerStream(ChunkStream):
    """The answer of a server as a stream of chunks; `reply` is the answer when it is over.

    It is read in the thread that iterates. Leaving the loop or the ``with`` block closes the connection, on
    which a server stops the model; events in ``stop=`` are looked at after every piece.

    Parameters
    ----------
    model, request, options
        Who is asked, what, and how it was said.
    """

    def __init__(self, model: Asked, request: Request, options: Mapping[str, Any]) -> None:
        self._model, self._request, self._options = model, request, options
        self._events = stop_events(options.get("stop"))
        self._halt = threading.Event()
        self._reply: ServerReply | None = None
        self._chunks: Iterator[Chunk] | None = None

    @property
    def reply(self) -> ServerReply:
        """The answer, once the stream is over; the partial one if it was left."""
        if self._reply is None:
            raise LabError(
                "The answer is still being generated.", hint="Read the stream to its end, or stop() it."
            )
        return self._reply

    def stop(self) -> None:
        """End the stream: at once if nobody reads it, else after the piece that is being read."""
        self._halt.set()
        if self._chunks is None:
            self._reply = self._model.reply_of(self._request, Answer(), seconds=0.0, stopped=True)
            return
        close = getattr(self._chunks, "close", None)
        if close is not None:
            try:
                close()
            except ValueError:  # another thread reads it: that one sees the event
                return

    def __next__(self) -> Chunk:
        if self._chunks is None:
            if self._reply is not None:
                raise StopIteration
            self._chunks = self._read()
        return next(self._chunks)

    def _is_over(self) -> bool:
        return self._reply is not None

    def __repr__(self) -> str:
        state = "over" if self._reply is not None else "not started" if self._chunks is None else "running"
        return f"ServerStream({state})"

    def _stopped(self) -> bool:
        return self._halt.is_set() or any(event.is_set() for event in self._events)

    def _partial(self, kind: str, answer: Answer) -> Any:
        """Return the value so far of an answer that was asked for as JSON; see `Chunk`."""
        if self._request.schema is None or kind != "text":
            return None
        return partial_value(answer.text)

    def _read(self) -> Iterator[Chunk]:
        model, answer = self._model, Answer()
        began = time.perf_counter()
        first: float | None = None
        whole = False
        try:
            path, body = model.body_of(self._request, self._options, stream=True)
            opened: list[Any] = []

            def send(fields: Mapping[str, Any]) -> Any:
                entered = model.connection.events(path, fields)
                opened.append(entered)
                return entered.__enter__()

            events = model.refitted(self._request, body, send)
            try:
                for event in events:
                    if self._stopped():
                        break
                    for kind, text in answer.add(event, model.connection.base):
                        first = time.perf_counter() - began if first is None else first
                        yield Chunk(text, kind, (), self._partial(kind, answer))
                else:
                    whole = True
            finally:
                opened[-1].__exit__(None, None, None)
        finally:
            seconds = time.perf_counter() - began
            if whole and answer.finish is None and not self._stopped():
                whole = False  # the stream broke off: nothing said that the answer was complete
            self._reply = model.reply_of(
                self._request, answer, seconds=seconds, first_s=first, stopped=not whole
            )

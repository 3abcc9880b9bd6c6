"""An answer as a stream of chunks, generated in a thread."""

from __future__ import annotations

import queue
import threading
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import groupby
from typing import TYPE_CHECKING, Any, Literal, Self

from ...errors import LabError
from ..grammar.partial import partial_value

if TYPE_CHECKING:
    from types import TracebackType

    from .generation import Generation, OnTokens
    from .reply import Reply, Token


@dataclass(frozen=True)
class Chunk:
    """Consecutive tokens of one kind.

    Attributes
    ----------
    text
        Complete characters (grapheme clusters), ready to be shown; ``""`` for control tokens only.
    kind
        ``"text"`` or ``"thought"``.
    tokens
        Its tokens. Those of all chunks of a stream are the tokens of the reply.
    partial
        Of an answer with ``schema=``: the value so far, this chunk included, as plain JSON
        (`gemma_lab.models.grammar.partial.partial_value`). It is not checked: fields may be missing, and the
        last string may still grow. None before the value begins, and without a schema. The complete, checked
        value is ``stream.reply.data``.
    """

    text: str
    kind: Literal["text", "thought"]
    tokens: tuple[Token, ...]
    partial: Any = field(default=None, repr=False, compare=False)


class ChunkStream:
    """An iterator over `Chunk` objects that stops when a loop over it, or its ``with`` block, is left."""

    def __next__(self) -> Chunk:
        raise NotImplementedError

    def stop(self) -> None:
        """Stop the answer."""
        raise NotImplementedError

    def close(self) -> None:
        """Stop the answer, as `stop` does."""
        self.stop()

    def _is_over(self) -> bool:
        raise NotImplementedError

    def __iter__(self) -> Iterator[Chunk]:
        # a generator, so that leaving the loop early is noticed at once
        try:
            while True:
                try:
                    chunk = next(self)
                except StopIteration:
                    return
                yield chunk
        finally:
            if not self._is_over():
                self.stop()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self._is_over():
            self.stop()


class Stream(ChunkStream):
    """A stream of `Chunk` objects; `reply` is the answer when it is over.

    The model runs in a separate thread from the first chunk that is read. Leaving a loop over the stream,
    leaving its ``with`` block, `stop` or interrupting the cell stops that thread and waits for it.

    Parameters
    ----------
    begin
        Returns the generation, given the callback for its tokens.
    halt
        Event that stops it.

    Examples
    --------
    >>> with lab.stream("Write 47 in German words.") as stream:
    ...     for chunk in stream:
    ...         print(chunk.text, end="")
    >>> stream.reply.finish_reason
    'stop'

    >>> for chunk in lab.stream("Who founded Rome? As JSON.", schema={"type": "object"}):
    ...     print(chunk.partial)
    """

    def __init__(self, begin: Callable[[OnTokens], Generation], halt: threading.Event) -> None:
        # The thread references only queue and generation, so that garbage collection of this object ends it.
        self._arrived: queue.SimpleQueue[list[Token] | BaseException | None] = queue.SimpleQueue()
        self._generation = begin(self._arrived.put)
        self._halt = halt
        self._ready: deque[Chunk] = deque()
        self._kind: Literal["text", "thought"] = "text"
        self._json: str | None = None if self._generation.request.schema is None else ""
        self._thread: threading.Thread | None = None
        self._over = False

    @property
    def reply(self) -> Reply:
        """The answer, once the stream is over; the partial one if it was stopped.

        Raises
        ------
        LabError
            While it is still being generated.
        """
        if not self._over:
            raise LabError(
                "The answer is still being generated.",
                hint="Read the stream to its end, or stop() it; lab.chat(…) waits for the whole answer.",
            )
        return self._generation.reply()

    def stop(self) -> None:
        """Stop the model and wait until it has stopped, at most the time of one layer; from any thread."""
        self._halt.set()
        thread = self._begin()
        if thread is not threading.current_thread():
            thread.join()
        self._over = True

    def __next__(self) -> Chunk:
        self._begin()
        while not self._ready:
            if self._over:
                raise StopIteration
            self._receive()
        return self._ready.popleft()

    def __del__(self) -> None:
        if getattr(self, "_thread", None) is not None and not self._over:
            self._halt.set()

    def _is_over(self) -> bool:
        return self._over

    def __repr__(self) -> str:
        state = "over" if self._over else "not started" if self._thread is None else "running"
        return f"Stream({state})"

    def _begin(self) -> threading.Thread:
        if self._thread is None:
            self._thread = threading.Thread(
                target=_write, args=(self._generation, self._arrived), name="gemma_lab answer", daemon=True
            )
            self._thread.start()
        return self._thread

    def _receive(self) -> None:
        try:
            arrived = self._arrived.get(timeout=1.0)  # a timeout keeps Ctrl-C alive on Windows
        except queue.Empty:
            return
        except BaseException:  # an interrupt while waiting: leave nothing running
            self.stop()
            raise
        if isinstance(arrived, list):
            self._ready.extend(self._chunks(arrived))
            return
        self.stop()
        if arrived is not None:
            raise arrived

    def _chunks(self, tokens: list[Token]) -> Iterator[Chunk]:
        # control and tool tokens have no text for a reader: they join the chunk of the last kind
        def kind(token: Token) -> Literal["text", "thought"]:
            if token.kind in ("text", "thought"):
                self._kind = token.kind
            return self._kind

        for which, group in groupby(tokens, kind):
            members = tuple(group)
            text = "".join(token.text for token in members if token.kind == which)
            yield Chunk(text, which, members, self._partial(text if which == "text" else ""))

    def _partial(self, text: str) -> Any:
        if self._json is None:
            return None
        self._json += text
        return partial_value(self._json)


def _write(generation: Generation, arrived: queue.SimpleQueue[list[Token] | BaseException | None]) -> None:
    try:
        generation.run()
    except BaseException as error:  # raised again where the stream is read
        arrived.put(error)
    else:
        arrived.put(None)

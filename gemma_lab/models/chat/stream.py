"""An answer that arrives piece by piece while a thread writes it."""

from __future__ import annotations

import queue
import threading
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING, Literal, Self

from ...errors import LabError

if TYPE_CHECKING:
    from types import TracebackType

    from .generation import Generation, Heard
    from .reply import Reply, Token


@dataclass(frozen=True)
class Chunk:
    """What the model said just now.

    Attributes
    ----------
    text
        Whole characters (grapheme clusters), ready to be shown; ``""`` where only control tokens came.
    kind
        ``"text"`` or ``"thought"``.
    tokens
        The tokens it is made of. Over a stream they join to the reply's.
    """

    text: str
    kind: Literal["text", "thought"]
    tokens: tuple[Token, ...]


class Stream:
    """An answer being written: iterate over it for `Chunk` objects, then read `reply`.

    The model runs in a thread of its own from the first chunk that is asked for. Leaving a loop over the
    stream, leaving its ``with`` block, `stop` or interrupting the cell stops that thread and waits for it.

    Parameters
    ----------
    begin
        Makes the generation, given what to call with settled tokens.
    halt
        The event that stops it.

    Examples
    --------
    >>> with lab.stream("Write 47 in German words.") as stream:
    ...     for chunk in stream:
    ...         print(chunk.text, end="")
    >>> stream.reply.finish
    'stop'
    """

    def __init__(self, begin: Callable[[Heard], Generation], halt: threading.Event) -> None:
        # The thread knows the queue and the generation, not this object: dropping the stream ends the thread.
        self._arrived: queue.SimpleQueue[list[Token] | BaseException | None] = queue.SimpleQueue()
        self._generation = begin(self._arrived.put)
        self._halt = halt
        self._ready: deque[Chunk] = deque()
        self._kind: Literal["text", "thought"] = "text"
        self._thread: threading.Thread | None = None
        self._over = False

    @property
    def reply(self) -> Reply:
        """The answer, once the stream is over; what there was of it if it was stopped.

        Raises
        ------
        LabError
            While it is still being written.
        """
        if not self._over:
            raise LabError(
                "The answer is still being written.",
                hint="Read the stream to its end, or stop() it; lab.chat(…) waits for the whole answer.",
            )
        return self._generation.reply()

    def stop(self) -> None:
        """Stop the model and wait until it has: within one layer's time. May be called from any thread."""
        self._halt.set()
        thread = self._begin()
        if thread is not threading.current_thread():
            thread.join()
        self._over = True

    close = stop

    def __iter__(self) -> Iterator[Chunk]:
        # A generator, so that leaving the loop early is noticed at once.
        try:
            while True:
                try:
                    chunk = next(self)
                except StopIteration:
                    return
                yield chunk
        finally:
            if not self._over:
                self.stop()

    def __next__(self) -> Chunk:
        self._begin()
        while not self._ready:
            if self._over:
                raise StopIteration
            self._receive()
        return self._ready.popleft()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def __del__(self) -> None:
        if getattr(self, "_thread", None) is not None and not self._over:
            self._halt.set()

    def __repr__(self) -> str:
        state = "over" if self._over else "not begun" if self._thread is None else "being written"
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
        # Control and tool tokens say nothing to a reader and travel with what is being said.
        def kind(token: Token) -> Literal["text", "thought"]:
            if token.kind in ("text", "thought"):
                self._kind = token.kind
            return self._kind

        for which, group in groupby(tokens, kind):
            members = tuple(group)
            text = "".join(token.text for token in members if token.kind == which)
            yield Chunk(text, which, members)


def _write(generation: Generation, arrived: queue.SimpleQueue[list[Token] | BaseException | None]) -> None:
    try:
        generation.run()
    except BaseException as error:  # raised again where the stream is read
        arrived.put(error)
    else:
        arrived.put(None)

"""The queue in front of the model: one request at a time, clients in turn."""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from collections.abc import Callable

from .errors import ApiError


class Turns:
    """Grants turns one by one. Each client that waits gets one before any gets a second.

    All methods are called in the event loop's thread.

    Parameters
    ----------
    limit
        Requests that may wait.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._busy = False
        self._waiting: OrderedDict[str, deque[asyncio.Future[None]]] = OrderedDict()

    @property
    def waiting(self) -> int:
        """How many requests wait."""
        return sum(map(len, self._waiting.values()))

    @property
    def busy(self) -> bool:
        """Whether a request has its turn."""
        return self._busy

    async def take(self, client: str) -> Callable[[], None]:
        """Wait for a turn and return the function that ends it, which may be called more than once.

        Parameters
        ----------
        client
            Who asks; the requests of one client are served in their order.

        Raises
        ------
        ApiError
            Status 429, if too many wait.
        """
        if self._busy or self._waiting:
            if self.waiting >= self._limit:
                raise ApiError(
                    429,
                    f"{self.waiting} requests wait already; try again.",
                    code="queue_full",
                    headers={"retry-after": "1"},
                )
            turn = asyncio.get_running_loop().create_future()
            self._waiting.setdefault(client, deque()).append(turn)
            try:
                await turn
            except BaseException:
                if turn.done() and not turn.cancelled():
                    self._next()  # it was granted in the moment in which the request was cancelled
                else:
                    self._forget(client, turn)
                raise
        self._busy = True
        ended = False

        def end() -> None:
            nonlocal ended
            if not ended:
                ended = True
                self._next()

        return end

    def _next(self) -> None:
        self._busy = False
        while self._waiting:
            client, queue = next(iter(self._waiting.items()))
            turn = queue.popleft()
            if queue:
                self._waiting.move_to_end(client)
            else:
                del self._waiting[client]
            if not turn.done():
                self._busy = True  # between this moment and the one in which the waiting task runs
                turn.set_result(None)
                return

    def _forget(self, client: str, turn: asyncio.Future[None]) -> None:
        queue = self._waiting.get(client)
        if queue is not None and turn in queue:
            queue.remove(turn)
            if not queue:
                del self._waiting[client]

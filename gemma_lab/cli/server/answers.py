"""Run requests on the model in a thread of its own, and hand its tokens to the event loop as they come."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .errors import ApiError, invalid
from .messages import with_videos

if TYPE_CHECKING:
    from ...lab import Lab
    from ...models.chat.reply import Reply, Token
    from ...trace.records.routing import Routing
    from .limits import Limits
    from .requests import CompletionRequest
    from .turns import Turns


@dataclass(frozen=True)
class Started:
    """The request was accepted: its prompt is ready.

    Attributes
    ----------
    prompt_ids
        Token ids of the prompt.
    tools
        The declared functions.
    """

    prompt_ids: list[int]
    tools: Sequence[Any]


@dataclass(frozen=True)
class Finished:
    """The answer is complete.

    Attributes
    ----------
    reply
        The answer.
    routing
        Experts of every token that was read, if they were asked for.
    """

    reply: Reply
    routing: Routing | None


#: The token behind a tool call.
CALL_END = "<tool_call|>"
Event = Started | list["Token"] | Finished


class Answers:
    """Answers requests with one model, one at a time.

    Parameters
    ----------
    lab
        The model.
    limits
        Of the server.
    turns
        The queue.
    """

    def __init__(self, lab: Lab, limits: Limits, turns: Turns) -> None:
        self.lab, self.limits, self.turns = lab, limits, turns
        self._halts: set[threading.Event] = set()
        self._stopped = False
        self._executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix="gemma_lab server")

    def stop(self) -> None:
        """End the running answer and refuse those that wait; called in the event loop's thread."""
        self._stopped = True
        for halt in self._halts:
            halt.set()

    def close(self) -> None:
        """Wait until the model has stopped."""
        self._executor.shutdown(wait=True, cancel_futures=True)

    async def run(self, request: CompletionRequest, client: str) -> AsyncIterator[Event]:
        """Yield what happens to a request: `Started`, lists of tokens, `Finished`.

        Ending the iteration early, or cancelling the task, stops the model; the next request has its turn as
        soon as the model has stopped.

        Raises
        ------
        ApiError
            If too many requests wait, or the server is being stopped.
        LabError
            If the request cannot be run.
        """
        loop = asyncio.get_running_loop()
        events: asyncio.Queue[Event | BaseException] = asyncio.Queue()
        halt = threading.Event()
        end = await self.turns.take(client)

        def put(event: Event | BaseException) -> None:
            loop.call_soon_threadsafe(events.put_nowait, event)

        try:
            self._refuse_if_stopped()
            future = self._executor.submit(self._work, request, halt, put)
        except BaseException:
            end()
            raise
        self._halts.add(halt)
        future.add_done_callback(lambda _: _end_in(loop, end))
        try:
            while True:
                event = await events.get()
                if isinstance(event, BaseException):
                    raise event
                if isinstance(event, Finished) and event.reply.finish_reason == "stopped":
                    self._refuse_if_stopped()  # an answer that was cut must not look complete
                yield event
                if isinstance(event, Finished):
                    return
        finally:
            halt.set()
            self._halts.discard(halt)

    def _refuse_if_stopped(self) -> None:
        if self._stopped:
            raise ApiError(503, "The server is being stopped.", code="server_stopped")

    def _work(
        self, request: CompletionRequest, halt: threading.Event, put: Callable[[Event | BaseException], None]
    ) -> None:
        """Run a request in this thread; every error is handed over, none is raised."""
        try:
            put(self._answer(request, halt, put))
        except BaseException as error:  # raised again in the event loop
            put(error)

    def _answer(
        self, request: CompletionRequest, halt: threading.Event, put: Callable[[Event], None]
    ) -> Finished:
        from ...models.chat.generation import Generation
        from ...models.chat.prompt import prepare
        from ...models.chat.request_builder import build_request
        from ...trace.probes.recorder import Recorder
        from ...trace.probes.routing import RoutingProbe

        lab = self.lab
        if request.routed_experts and not lab.architecture.experts:
            raise invalid(f"{lab.name} has no experts.", "return_routed_experts", "not_supported")
        asked = with_videos(request.prompt) if request.chat else request.prompt
        prompt = prepare(lab, build_request(lab, asked, request.options))
        most = self.limits.max_prompt_tokens
        if most is not None and len(prompt.ids) > most:
            raise invalid(
                f"The prompt has {len(prompt.ids):,} tokens; this server takes {most:,}.",
                "messages" if request.chat else "prompt",
                "context_length_exceeded",
            )
        if request.routed_experts_start >= len(prompt.ids):
            raise invalid(
                f"routed_experts_prompt_start is {request.routed_experts_start:,}; the prompt has "
                f"{len(prompt.ids):,} tokens.",
                "routed_experts_prompt_start",
            )
        put(Started(prompt.ids, prompt.request.tools))
        probe = RoutingProbe() if request.routed_experts else None
        around: Any = Recorder(lab.model, [probe]) if probe is not None else None

        def tell(tokens: list[Token]) -> None:
            if request.one_call and any(token.text == CALL_END for token in tokens):
                halt.set()
            put(tokens)

        generation = Generation(lab, prompt, stop=(halt,), on_tokens=tell, around=around)
        generation.run()
        return Finished(generation.reply(), None if probe is None else probe.result())


def _end_in(loop: asyncio.AbstractEventLoop, end: Callable[[], None]) -> None:
    """End the turn of a request once its thread is done, whatever became of the task that waited for it."""
    if not loop.is_closed():
        loop.call_soon_threadsafe(end)

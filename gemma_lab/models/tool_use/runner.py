"""The tool loop: generate, run the calls within limits, return their results, until the model answers."""

from __future__ import annotations

import asyncio
import inspect
import json
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from ...display import Displayed
from ...errors import LabError
from ..chat.plain_json import plain

if TYPE_CHECKING:
    from ..chat.reply import Reply
    from ..chat.request_builder import PromptLike
    from ..chat.tools import Call
    from .tool import Tool

#: Options of the first round only; later rounds continue the conversation.
_FIRST_ROUND = ("images", "video", "audio", "system", "previous", "tool_results", "tool_choice")
Ended = Literal["answered", "max_rounds", "not run", "stopped", "interrupted"]
Status = Literal[
    "ran", "invalid", "unknown", "denied", "failed", "timed out", "too long", "not run", "stopped"
]
#: Decides about a call: True runs it, False or a reason denies it, a mapping runs it with these arguments.
Approve = Callable[["Call"], "bool | str | Mapping[str, Any]"]
_STOPPED = "The user stopped the run."
#: Seconds between two looks at the events that stop a call.
_POLL = 0.05


@dataclass(frozen=True)
class Execution:
    """The execution of one call, or why it was not executed.

    Attributes
    ----------
    call
        The call as the model wrote it.
    arguments
        Arguments of the execution: those of the call, or those that `approve` replaced them with.
    status
        ``"ran"``; ``"invalid"``, ``"unknown"`` or ``"denied"`` if it was not run; ``"failed"``,
        ``"timed out"`` or ``"too long"`` if it gave no result; ``"stopped"`` if the run was stopped before or
        during it.
    result
        Plain JSON that is returned to the model; ``{"error": …}`` for every status but ``"ran"``.
    seconds
        Elapsed time of the function, seconds.
    """

    call: Call
    arguments: Mapping[str, Any]
    status: Status
    result: Any
    seconds: float = 0.0

    def __repr__(self) -> str:
        return f"Execution({self.call.name or 'unreadable call'}: {self.status}, {self.seconds:.2f} s)"


@dataclass(frozen=True)
class Round:
    """One reply with the executions of its calls; the last round has none."""

    reply: Reply
    executions: tuple[Execution, ...] = ()


@dataclass(frozen=True)
class ToolRun(Displayed):
    """A conversation in which the model called tools.

    Attributes
    ----------
    rounds
        Every reply with its executed calls, in order.
    ended
        ``"answered"``: the last reply calls nothing; ``"max_rounds"``: it still does; ``"not run"``: it
        calls a tool that was only declared; ``"stopped"``: an answer was cut, or the run was stopped;
        ``"interrupted"``.
    """

    rounds: tuple[Round, ...]
    ended: Ended

    @property
    def reply(self) -> Reply:
        """The last reply; ``lab.chat(…, previous=run.reply)`` continues the conversation."""
        return self.rounds[-1].reply

    @property
    def text(self) -> str:
        """Text of the last reply."""
        return self.reply.text

    @property
    def executions(self) -> tuple[Execution, ...]:
        """All executed calls, in order."""
        return tuple(execution for one in self.rounds for execution in one.executions)

    @property
    def messages(self) -> list[dict[str, Any]]:
        """All messages of the conversation."""
        return list(self.reply.messages)

    def __repr__(self) -> str:
        calls = len(self.executions)
        counted = f"{len(self.rounds)} rounds, {calls} call{'s' * (calls != 1)}"
        return f"ToolRun({counted}, {self.ended}: {self.text!r:.60})"


@dataclass
class Runner:
    """Run calls within limits.

    Parameters
    ----------
    tools
        The tools by name; nothing else can run.
    approve
        Called with each valid call; None approves all.
    timeout
        Seconds per call. A function that runs longer is abandoned: its thread cannot be killed and ends by
        itself.
    max_result_chars
        Maximum length of a result as JSON, characters; a longer one is returned as an error.
    stop
        Events that stop it: a running call is abandoned, later ones are not run.
    """

    tools: Mapping[str, Tool]
    approve: Approve | None = None
    timeout: float = 30.0
    max_result_chars: int = 20_000
    stop: Sequence[threading.Event] = ()

    def is_stopped(self) -> bool:
        """Return whether one of the events is set."""
        return any(event.is_set() for event in self.stop)

    def execute(self, call: Call) -> Execution:
        """Run one call; every failure becomes a result for the model."""
        if self.is_stopped():
            return _error(call, "stopped", _STOPPED)
        tool = self.tools.get(call.name)
        if tool is None and not call.problem:
            known = ", ".join(self.tools) or "none"
            return _error(call, "unknown", f"There is no function {call.name}. Functions: {known}.")
        if tool is not None and tool.function is None:
            return _error(call, "not run", "This function was declared, not passed.")
        faults = call.faults([tool.declaration for tool in self.tools.values()])
        if faults or tool is None:
            return _error(call, "invalid", "; ".join(faults))
        arguments: Mapping[str, Any] = call.arguments
        if self.approve is not None:
            decision = self.approve(call)
            if self.is_stopped():
                return _error(call, "stopped", _STOPPED)
            if isinstance(decision, Mapping):
                arguments = dict(decision)
                edited = type(call)(call.name, dict(arguments))
                if faults := edited.faults([tool.declaration]):
                    raise LabError(
                        f"approve returned invalid arguments: {'; '.join(faults)}.",
                        hint="Return a mapping that satisfies the declaration of the tool.",
                    )
            elif decision is not True:
                return _error(
                    call,
                    "denied",
                    decision if isinstance(decision, str) and decision else "The user denied this call.",
                )
        return self._run(call, tool, arguments)

    def _run(self, call: Call, tool: Tool, arguments: Mapping[str, Any]) -> Execution:
        begin = time.monotonic()
        outcome = _in_thread(tool.function, arguments, self.timeout, self.stop)
        seconds = time.monotonic() - begin
        if outcome is None and self.is_stopped():
            return _error(call, "stopped", _STOPPED, arguments, seconds)
        if outcome is None:
            return _error(call, "timed out", f"No result within {self.timeout:g} s.", arguments, seconds)
        value, error = outcome
        if error is not None:
            return _error(call, "failed", f"{type(error).__name__}: {error}"[:500], arguments, seconds)
        try:
            result = plain(value, f"The result of {call.name}")
        except LabError as problem:
            return _error(call, "failed", problem.what, arguments, seconds)
        length = len(json.dumps(result, ensure_ascii=False))
        if length > self.max_result_chars:
            message = f"The result has {length:,} characters; the limit is {self.max_result_chars:,}."
            return _error(call, "too long", message, arguments, seconds)
        return Execution(call, arguments, "ran", result, seconds)


def _error(
    call: Call, status: Status, message: str, arguments: Mapping[str, Any] | None = None, seconds: float = 0.0
) -> Execution:
    return Execution(
        call, call.arguments if arguments is None else arguments, status, {"error": message}, seconds
    )


def _in_thread(
    function: Callable[..., Any] | None,
    arguments: Mapping[str, Any],
    timeout: float,
    stop: Sequence[threading.Event] = (),
) -> tuple[Any, BaseException | None] | None:
    """Call a function, sync or async, in a separate thread; return None if it takes too long or is stopped.

    That thread has no running event loop, so coroutines run in a notebook, too, and the caller can be
    interrupted while it waits.
    """
    assert function is not None
    outcome: list[tuple[Any, BaseException | None]] = []
    over = threading.Event()

    async def awaited(value: Any) -> Any:
        return await asyncio.wait_for(value, timeout)

    def work() -> None:
        try:
            value = function(**arguments)
            if inspect.isawaitable(value):
                value = asyncio.run(awaited(value))
            outcome.append((value, None))
        except TimeoutError as error:
            if not str(error):  # raised by wait_for at the limit, not by the tool
                return
            outcome.append((None, error))
        except BaseException as error:  # SystemExit and friends of a tool must not end the program
            outcome.append((None, error))
        finally:
            over.set()

    threading.Thread(target=work, name="gemma_lab tool", daemon=True).start()
    end = time.monotonic() + timeout
    while not over.is_set() and (left := end - time.monotonic()) > 0:
        over.wait(min(left, _POLL) if stop else left)
        if any(event.is_set() for event in stop):
            break
    return outcome[0] if outcome else None


@dataclass
class ToolLoop:
    """The rounds of a conversation: a reply, the executions of its calls, the next reply from their results.

    Parameters
    ----------
    generate
        Returns each reply: called with a prompt and options like `gemma_lab.Lab.chat`.
    runner
        Runs the calls.
    max_rounds
        Maximum number of replies.

    Attributes
    ----------
    rounds
        The rounds so far, also after an interrupt.
    """

    generate: Callable[..., Reply]
    runner: Runner
    max_rounds: int = 8
    rounds: list[Round] = field(default_factory=list)

    def run(self, prompt: PromptLike, **options: Any) -> ToolRun:
        """Generate and run calls until a reply calls nothing; the options are those of `chat`."""
        tools = [tool.declaration for tool in self.runner.tools.values()]
        later = {name: value for name, value in options.items() if name not in _FIRST_ROUND}
        reply = self.generate(prompt, tools=tools, **options)
        while True:
            self.rounds.append(Round(reply))
            if reply.finish_reason != "stop" or not reply.calls:
                return self._ended("answered" if reply.finish_reason == "stop" else "stopped")
            done: list[Execution] = []
            for call in reply.calls:
                done.append(self.runner.execute(call))
                self.rounds[-1] = Round(reply, tuple(done))
            statuses = {execution.status for execution in done}
            if "not run" in statuses:
                return self._ended("not run")
            if "stopped" in statuses or self.runner.is_stopped():
                return self._ended("stopped")
            if len(self.rounds) == self.max_rounds:
                return self._ended("max_rounds")
            results = [execution.result for execution in done]
            reply = self.generate(None, previous=reply, tool_results=results, tools=tools, **later)

    def interrupted(self, last: Reply | None) -> ToolRun | None:
        """Return the rounds so far, with the partial reply that an interrupt left; None if there are none."""
        if last is not None and (not self.rounds or last is not self.rounds[-1].reply):
            self.rounds.append(Round(last))
        return self._ended("interrupted") if self.rounds else None

    def _ended(self, ended: Ended) -> ToolRun:
        return ToolRun(tuple(self.rounds), ended)

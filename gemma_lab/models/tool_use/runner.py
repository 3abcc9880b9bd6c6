"""The tool loop: generate, run the calls within limits, return their results, until the model answers."""

from __future__ import annotations

import asyncio
import inspect
import json
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from ...checks import whole_number
from ...display import Displayed
from ...errors import LabError
from ..chat.chat import chat
from ..chat.options import RequestOptions, check_keywords
from ..chat.plain_json import plain
from .toolbox import tools_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ..chat.reply import Reply
    from ..chat.request_builder import PromptLike
    from ..chat.tools import Call
    from ..loading.loaded_model import LoadedModel
    from .tool import Tool

#: Options of the first round only; later rounds continue the conversation.
_FIRST_ROUND = ("images", "video", "audio", "system", "previous", "tool_results", "tool_choice")
Ended = Literal["answered", "max_rounds", "not run", "stopped", "interrupted"]
Status = Literal["ran", "invalid", "unknown", "denied", "failed", "timed out", "too long", "not run"]
#: Decides about a call: True runs it, False or a reason denies it, a mapping runs it with these arguments.
Approve = Callable[["Call"], "bool | str | Mapping[str, Any]"]


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
        ``"timed out"`` or ``"too long"`` if it gave no result.
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
        calls a tool that was only declared; ``"stopped"``: the answer was cut or stopped; ``"interrupted"``.
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
    """

    tools: Mapping[str, Tool]
    approve: Approve | None = None
    timeout: float = 30.0
    max_result_chars: int = 20_000

    def execute(self, call: Call) -> Execution:
        """Run one call; every failure becomes a result for the model."""
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
        outcome = _in_thread(tool.function, arguments, self.timeout)
        seconds = time.monotonic() - begin
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
    function: Callable[..., Any] | None, arguments: Mapping[str, Any], timeout: float
) -> tuple[Any, BaseException | None] | None:
    """Call a function, sync or async, in a separate thread; return None if it takes too long.

    That thread has no running event loop, so coroutines run in a notebook, too, and the caller can be
    interrupted while it waits.
    """
    assert function is not None
    outcome: list[tuple[Any, BaseException | None]] = []

    async def awaited(value: Any) -> Any:
        return await asyncio.wait_for(value, timeout)

    def work() -> None:
        try:
            value = function(**arguments)
            if inspect.isawaitable(value):
                value = asyncio.run(awaited(value))
            outcome.append((value, None))
        except TimeoutError as error:
            if not str(error):  # ours, from wait_for
                return
            outcome.append((None, error))
        except BaseException as error:  # SystemExit and friends of a tool must not end the program
            outcome.append((None, error))

    thread = threading.Thread(target=work, name="gemma_lab tool", daemon=True)
    thread.start()
    thread.join(timeout)
    return outcome[0] if outcome else None


def run(
    model: LoadedModel,
    prompt: PromptLike,
    *,
    tools: Iterable[Any],
    max_rounds: int = 8,
    approve: Approve | None = None,
    timeout: float = 30.0,
    max_result_chars: int = 20_000,
    **options: Any,
) -> ToolRun:
    """Generate, run the calls and return their results, until the model answers; see `Lab.run`."""
    check_keywords(
        "run", options, RequestOptions, also=("max_rounds", "approve", "timeout", "max_result_chars")
    )
    max_rounds = whole_number("max_rounds", max_rounds, minimum=1)
    known = tools_of(tools)
    runner = Runner(known, approve, timeout, max_result_chars)
    declared = [tool.declaration for tool in known.values()]
    later = {name: value for name, value in options.items() if name not in _FIRST_ROUND}
    rounds: list[Round] = []
    model.last_run = None
    ended: Ended = "max_rounds"
    try:
        reply = chat(model, prompt, tools=declared, **options)
        for number in range(max_rounds):
            if reply.finish_reason != "stop" or not reply.calls:
                ended = "answered" if reply.finish_reason == "stop" else "stopped"
                rounds.append(Round(reply))
                break
            done: list[Execution] = []
            rounds.append(Round(reply))
            for call in reply.calls:
                done.append(runner.execute(call))
                rounds[-1] = Round(reply, tuple(done))
            if any(execution.status == "not run" for execution in done):
                ended = "not run"
                break
            if number + 1 < max_rounds:
                results = [execution.result for execution in done]
                reply = chat(model, None, previous=reply, tool_results=results, tools=declared, **later)
    except BaseException:
        partial = model.last_reply
        if partial is not None and (not rounds or partial is not rounds[-1].reply):
            rounds.append(Round(partial))
        if rounds:
            model.last_run = ToolRun(tuple(rounds), "interrupted")
        raise
    finished = ToolRun(tuple(rounds), ended)
    model.last_run = finished
    return finished

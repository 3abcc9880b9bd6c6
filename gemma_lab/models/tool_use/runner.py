"""The tool loop: generate, run the calls within limits, return their results, until the model answers."""

from __future__ import annotations

import inspect
import json
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from ...checks import real_number, whole_number
from ...display import Displayed
from ...errors import LabError
from ..chat.plain_json import plain, without_control
from .outcome import outcome_of

if TYPE_CHECKING:
    from ..chat.reply import Reply
    from ..chat.request_builder import PromptLike
    from ..chat.tools import Call
    from .tool import Tool

#: Options of the first round only; later rounds continue the conversation.
_FIRST_ROUND = ("images", "video", "audio", "system", "previous", "tool_results", "tool_choice")
Ended = Literal["answered", "max_rounds", "not run", "unreadable", "stopped", "interrupted"]
Status = Literal[
    "ran", "invalid", "unknown", "denied", "failed", "timed out", "too long", "not run", "stopped"
]
#: Decides about a call: True runs it, False or a reason denies it, a mapping runs it with these arguments.
Approve = Callable[["Call"], "bool | str | Mapping[str, Any]"]
_STOPPED = "The user stopped the run."
#: Longest time limit of a call, seconds: a day.
MAX_TIMEOUT = 86_400.0


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
        ``"ran"``; ``"invalid"``, ``"unknown"``, ``"denied"`` or ``"not run"`` (only declared, or beside a
        call that cannot be read) if it was not run; ``"failed"``,
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
        calls a tool that was only declared; ``"unreadable"``: a call cannot be read, so nothing ran and no
        result could be returned; ``"stopped"``: an answer was cut, or the run was stopped;
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

    def __post_init__(self) -> None:
        self.timeout = real_number("timeout", self.timeout, minimum=0.001, maximum=MAX_TIMEOUT)
        self.max_result_chars = whole_number("max_result_chars", self.max_result_chars, minimum=1)
        if self.approve is not None and not callable(self.approve):
            raise LabError(
                f"approve={self.approve!r:.40} is no function.",
                hint="Pass a function of the call, which returns True, False, a reason or other arguments.",
            )

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
            decision: Any = self.approve(call)  # of the caller: anything
            if inspect.iscoroutine(decision):
                decision.close()
                raise LabError("approve is a coroutine function.", hint="Pass an ordinary function.")
            if self.is_stopped():
                return _error(call, "stopped", _STOPPED)
            if isinstance(decision, Mapping):
                arguments = self._edited(call, tool, decision)
            elif decision is not True:
                return _error(
                    call,
                    "denied",
                    decision if isinstance(decision, str) and decision else "The user denied this call.",
                )
        return self._run(call, tool, arguments)

    def skip(self, call: Call) -> Execution:
        """Return the execution of a call of a reply in which one cannot be read: none of them is run."""
        if call.problem:
            return _error(call, "invalid", call.problem)
        return _error(call, "not run", "Another call of the reply cannot be read.")

    def _run(self, call: Call, tool: Tool, arguments: Mapping[str, Any]) -> Execution:
        assert tool.function is not None
        begin = time.monotonic()
        outcome = outcome_of(tool.function, arguments, name=call.name, timeout=self.timeout, stop=self.stop)
        seconds = time.monotonic() - begin
        if outcome is None and self.is_stopped():
            return _error(call, "stopped", _STOPPED, arguments, seconds)
        if outcome is None:
            return _error(call, "timed out", f"No result within {self.timeout:g} s.", arguments, seconds)
        if outcome.error:
            status: Status = "invalid" if outcome.invalid else "failed"
            return _error(call, status, outcome.error, arguments, seconds)
        length = len(json.dumps(outcome.value, ensure_ascii=False))
        if length > self.max_result_chars:
            message = f"The result has {length:,} characters; the limit is {self.max_result_chars:,}."
            return _error(call, "too long", message, arguments, seconds)
        return Execution(call, arguments, "ran", outcome.value, seconds)

    def _edited(self, call: Call, tool: Tool, decision: Mapping[str, Any]) -> dict[str, Any]:
        """Return the arguments that `approve` gave, as plain JSON."""
        arguments: dict[str, Any] = plain(dict(decision), f"What approve returned for {call.name}")
        if faults := type(call)(call.name, arguments).faults([tool.declaration]):
            raise LabError(
                f"approve returned invalid arguments: {'; '.join(faults)}.",
                hint="Return a mapping that satisfies the declaration of the tool.",
            )
        return arguments


def _error(
    call: Call, status: Status, message: str, arguments: Mapping[str, Any] | None = None, seconds: float = 0.0
) -> Execution:
    # a message may quote what a tool or a server said: it must not act as the chat format
    result = {"error": without_control(message)}
    return Execution(call, call.arguments if arguments is None else arguments, status, result, seconds)


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
    generates
        Whether a reply is being generated.
    """

    generate: Callable[..., Reply]
    runner: Runner
    max_rounds: int = 8
    rounds: list[Round] = field(default_factory=list)
    generates: bool = field(default=False, init=False)

    def run(self, prompt: PromptLike, **options: Any) -> ToolRun:
        """Generate and run calls until a reply calls nothing; the options are those of `chat`."""
        if options.get("schema") is not None:
            raise LabError(
                "An answer bound by a schema calls no tools.",
                hint="Run without one, then lab.chat(…, previous=run.reply, schema=…).",
            )
        tools = [tool.declaration for tool in self.runner.tools.values()]
        later = {name: value for name, value in options.items() if name not in _FIRST_ROUND}
        reply = self._generated(prompt, tools=tools, **options)
        while True:
            self.rounds.append(Round(reply))
            if reply.finish_reason != "stop" or not reply.calls:
                return self._ended("answered" if reply.finish_reason == "stop" else "stopped")
            if any(call.problem for call in reply.calls):
                executions = tuple(self.runner.skip(call) for call in reply.calls)
                self.rounds[-1] = Round(reply, executions)
                return self._ended("unreadable")
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
            reply = self._generated(None, previous=reply, tool_results=results, tools=tools, **later)

    def _generated(self, prompt: PromptLike, **options: Any) -> Reply:
        self.generates = True
        reply = self.generate(prompt, **options)
        self.generates = False
        return reply

    def interrupted(self, last: Reply | None) -> ToolRun | None:
        """Return the rounds so far, with the partial reply that an interrupt left; None if there are none.

        A reply counts only if the interrupt came while one was generated: a tool may chat, too.
        """
        if self.generates and last is not None and (not self.rounds or last is not self.rounds[-1].reply):
            self.rounds.append(Round(last))
        return self._ended("interrupted") if self.rounds else None

    def _ended(self, ended: Ended) -> ToolRun:
        return ToolRun(tuple(self.rounds), ended)

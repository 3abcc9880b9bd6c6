"""Cards of tool calls: what the model calls, what a person decides about it, what it returned."""

from __future__ import annotations

import json
import queue
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ...errors import LabError
from ...models.chat.plain_json import plain
from ..shared.base import sendable

if TYPE_CHECKING:
    from ...models.chat.tools import Call
    from ...models.tool_use.runner import Execution
    from ...models.tool_use.tool import Tool

#: Result of a decision: as `gemma_lab.Lab.run` takes it from ``approve``.
Decision = bool | str | Mapping[str, Any]
#: States of a card that are not the status of an execution.
OPEN = ("queued", "waiting", "running")
#: Seconds between two looks at whether the run was stopped while a call waits.
_POLL = 0.05
#: Most characters of JSON on one line.
_ONE_LINE = 72
#: Most characters of arguments and of a result that are shown.
_MAX_LENGTH = 50_000


@dataclass
class _Waiting:
    """A call that waits for a decision."""

    call: Call
    tool: Tool
    decisions: queue.SimpleQueue[Decision] = field(default_factory=queue.SimpleQueue)


class CallCards:
    """The cards of a conversation's calls, by the key of the turn that made them.

    A card is ``{"id", "name", "source", "arguments", "state", "edited", "problem", "result", "seconds"}``
    with arguments and result as JSON text. Its state is ``"queued"``, ``"waiting"`` (for a decision),
    ``"running"`` or the status of an `Execution`.

    Parameters
    ----------
    publish
        Called with all cards, ``{key: [card, …]}``, whenever one changes; from any thread.
    """

    def __init__(self, publish: Callable[[dict[str, list[dict[str, Any]]]], None]) -> None:
        self._publish = publish
        self._lock = threading.Lock()
        self._cards: dict[str, list[dict[str, Any]]] = {}
        self._waiting: dict[str, _Waiting] = {}

    def open(self, turn: int, calls: Sequence[Call], tools: Mapping[str, Tool]) -> None:
        """Add the cards of the calls of a reply."""
        self._cards[str(turn)] = [
            _card(f"{turn}-{number}", call, tools) for number, call in enumerate(calls, 1)
        ]
        self._send()

    def keep(self, turns: Sequence[int]) -> None:
        """Remove the cards of all turns but these."""
        kept = {str(turn) for turn in turns}
        if not kept.issuperset(self._cards):
            self._cards = {turn: cards for turn, cards in self._cards.items() if turn in kept}
            self._send()

    def next(self) -> str:
        """Return the id of the first card whose call has not begun."""
        return next(str(card["id"]) for card in self._all() if card["state"] == "queued")

    def begin(self, card: str, arguments: Mapping[str, Any] | None = None) -> None:
        """Show that a call runs, with the arguments that replaced its own."""
        changes: dict[str, Any] = {"state": "running", "problem": ""}
        if arguments is not None:
            changes |= {"arguments": shown_json(arguments), "edited": True}
        self._change(card, **changes)

    def end(self, card: str, execution: Execution) -> None:
        """Show the result of a call, or why it has none."""
        result = execution.result
        is_error = execution.status != "ran" and isinstance(result, Mapping) and set(result) == {"error"}
        shown = sendable(str(result["error"])) if is_error else shown_json(result)
        seconds = round(execution.seconds, 3)
        self._change(card, state=execution.status, problem="", result=_short(shown), seconds=seconds)

    def settle(self) -> None:
        """Mark the calls that an interrupt or an error left open as stopped."""
        for card in self._all():
            if card["state"] in OPEN:
                self._change(
                    card["id"], state="stopped", problem="", result="The run ended before this call did."
                )

    # ── decisions ──────────────────────────────────────────────────────────────────────────────────────

    def wait(self, card: str, call: Call, tool: Tool, stopped: Callable[[], bool]) -> Decision:
        """Show a call as waiting and return what a person decides; False once the run is stopped."""
        waiting = self._waiting[card] = _Waiting(call, tool)
        try:
            self._change(card, state="waiting")
            while not stopped():
                try:
                    return waiting.decisions.get(timeout=_POLL)
                except queue.Empty:
                    continue
            return False
        finally:
            del self._waiting[card]

    def decide(self, card: str, decision: str) -> str:
        """Run or deny a call that waits; return the name of its tool, or "" if it does not wait.

        Parameters
        ----------
        card
            Id of the card.
        decision
            ``"run"`` or ``"deny"``.
        """
        waiting = self._waiting.get(card)
        if waiting is None or decision not in ("run", "deny"):
            return ""  # another view has decided, or the run was stopped
        waiting.decisions.put(decision == "run")
        return waiting.tool.name

    def edit(self, card: str, arguments: str) -> None:
        """Run a call that waits with other arguments; refused ones are explained on the card, which waits on.

        Parameters
        ----------
        card
            Id of the card.
        arguments
            JSON text.
        """
        waiting = self._waiting.get(card)
        if waiting is None:
            return
        try:
            waiting.decisions.put(checked_arguments(arguments, waiting.call, waiting.tool))
        except LabError as error:
            self._change(card, problem=sendable(error.what))

    # ── the cards ──────────────────────────────────────────────────────────────────────────────────────

    def _all(self) -> list[dict[str, Any]]:
        return [card for cards in self._cards.values() for card in cards]

    def _change(self, card: str, **changes: Any) -> None:
        for one in self._all():
            if one["id"] == card:
                one.update(changes)
        self._send()

    def _send(self) -> None:
        with self._lock:  # the thread of the run and that of the messages both change cards
            self._publish({turn: [dict(card) for card in cards] for turn, cards in self._cards.items()})


def checked_arguments(text: str, call: Call, tool: Tool) -> dict[str, Any]:
    """Return edited arguments.

    Raises
    ------
    LabError
        If the text is no JSON object, holds what no result or call can hold, or the declaration of the tool
        does not allow the arguments.
    """
    try:
        arguments = json.loads(text, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise LabError(f"This is not JSON: {error or 'nested too deep'}.", hint="Correct it.") from error
    if not isinstance(arguments, dict):
        raise LabError("Arguments are a JSON object.", hint='For example {"city": "Rome"}.')
    # numbers beyond floats and control tokens are refused
    checked: dict[str, Any] = plain(arguments, "The arguments")
    if faults := type(call)(call.name, checked).faults([tool.declaration]):
        raise LabError(
            f"{tool.name} does not take these arguments: {'; '.join(faults)}.", hint="Correct them."
        )
    return checked


def shown_json(value: Any) -> str:
    """Return a value as JSON text for a view, indented if it is long."""
    line = json.dumps(value, ensure_ascii=False, default=str)
    if len(line) > _ONE_LINE:
        line = json.dumps(value, ensure_ascii=False, indent=2, default=str)
    return _short(sendable(line))


def _card(name: str, call: Call, tools: Mapping[str, Tool]) -> dict[str, Any]:
    tool = tools.get(call.name)
    source = "" if tool is None or tool.source in ("function", "declaration") else tool.source
    return {
        "id": name,
        "name": sendable(call.name),
        "source": sendable(source),
        "arguments": _short(sendable(call.text)) if call.problem else shown_json(call.arguments),
        "state": "queued",
        "edited": False,
        "problem": "",
        "result": "",
        "seconds": 0.0,
    }


def _short(text: str) -> str:
    if len(text) <= _MAX_LENGTH:
        return text
    return f"{text[:_MAX_LENGTH]}\n… {len(text) - _MAX_LENGTH:,} more characters"


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON value")

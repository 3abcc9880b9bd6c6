"""Approval of tool calls: which of them wait for a person."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ...checks import type_name
from ...errors import LabError

if TYPE_CHECKING:
    from ...models.chat.tools import Call
    from ...models.tool_use.tool import Tool
    from .call_cards import CallCards, Decision

_HOW = "approve= takes True, False, names of tools, or a function of the call."


def asking(approve: Any, tools: Mapping[str, Tool]) -> list[str]:
    """Return the names of the tools whose calls wait for a person, from the argument ``approve``.

    True is all that can run: a tool that was only declared has nothing to approve.

    Raises
    ------
    LabError
        If it is of another type, or names a tool that was not passed.
    """
    if approve is True:
        return [name for name, tool in tools.items() if tool.function is not None]
    if approve is None or approve is False or callable(approve):
        return []
    if isinstance(approve, str):
        approve = [approve]
    if not isinstance(approve, Iterable) or isinstance(approve, Mapping | bytes):
        raise LabError(f"approve is {type_name(approve)}.", hint=_HOW)
    names = list(dict.fromkeys(approve))
    if unknown := [name for name in names if name not in tools]:
        raise LabError(f"approve names {unknown[0]!r}.", hint=f"Tools: {', '.join(tools) or 'none'}")
    return names


@dataclass
class Approval:
    """Decides about each valid call of a run: runs it, denies it, or waits for a person.

    Parameters
    ----------
    cards
        The cards of the calls.
    tools
        The tools by name.
    asks
        Returns the names of the tools whose calls wait for a person.
    decide
        The caller's own function, as for `gemma_lab.Lab.run`; a call for which it returns None waits for a
        person, too.
    stopped
        Whether the run was stopped.
    attended
        Whether a person can decide meanwhile. Not while a cell runs: no click arrives before it has ended.
    """

    cards: CallCards
    tools: Mapping[str, Tool]
    asks: Callable[[], Collection[str]]
    decide: Callable[[Call], Decision | None] | None
    stopped: Callable[[], bool]
    attended: bool
    card: str = ""

    def __call__(self, call: Call) -> Decision:
        """Return the decision about the call of `card`."""
        decision: Decision | None = None if call.name in self.asks() else True
        if self.decide is not None:
            decision = self.decide(call)
        if decision is None:
            if not self.attended:
                raise unattended(call.name)
            decision = self.cards.wait(self.card, call, self.tools[call.name], self.stopped)
        if decision is True:
            self.cards.begin(self.card)
        elif isinstance(decision, Mapping):
            self.cards.begin(self.card, decision)
        return decision


def unattended(name: str) -> LabError:
    """Return the error for a call that would wait for a click while a cell runs."""
    return LabError(
        f"Calls of {name} wait for approval in the widget, which cannot be given while a cell runs.",
        hint="Write the prompt in the widget; or chat.send(…, approve=False) runs all calls, and "
        "approve=my_function decides about each.",
    )

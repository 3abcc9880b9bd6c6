"""The tools, the approval and the schema of a chat, validated."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ...checks import real_number, whole_number
from ...errors import LabError
from ..shared.base import sendable
from .approval import Approval, asking, unattended

if TYPE_CHECKING:
    import threading

    from ...models.tool_use.runner import Approve
    from ...models.tool_use.tool import Tool
    from .answering import CardRunner
    from .call_cards import CallCards

#: Longest time limit of a call, seconds: a day.
_MAX_TIMEOUT = 86_400.0


@dataclass(frozen=True)
class ToolOptions:
    """What a chat adds to its requests, and the limits of its calls.

    Attributes
    ----------
    tools
        The tools by name.
    ask
        Names of the tools whose calls wait for a person at first.
    decide
        The caller's own function, as for `gemma_lab.Lab.run`, or None.
    max_rounds, timeout, max_result_chars, tool_choice, schema
        As for `gemma_lab.Lab.run` and `gemma_lab.Lab.chat`; the schema is converted.
    """

    tools: Mapping[str, Tool]
    ask: tuple[str, ...]
    decide: Approve | None
    max_rounds: int
    timeout: float
    max_result_chars: int
    tool_choice: str | None
    schema: Any

    @classmethod
    def of(
        cls,
        tools: Iterable[Any],
        *,
        approve: Any,
        max_rounds: Any,
        timeout: Any,
        max_result_chars: Any,
        tool_choice: Any,
        schema: Any,
    ) -> ToolOptions:
        """Return the options after checking each.

        Raises
        ------
        BadPrompt, BadSchema, LabError
            If one is not valid.
        """
        from ...models.grammar.schema import answer_schema
        from ...models.tool_use.toolbox import tools_of

        known = tools_of(() if tools is None else tools)
        if known and schema is not None:
            raise LabError("An answer bound by a schema calls no tools.", hint="Leave tools or schema out.")
        if tool_choice is not None and not known:
            raise LabError(f"tool_choice={tool_choice!r:.40} without tools.", hint="Pass tools=[…].")
        return cls(
            known,
            tuple(asking(approve, known)),
            approve if callable(approve) else None,
            whole_number("max_rounds", max_rounds, minimum=1),
            real_number("timeout", timeout, minimum=0.001, maximum=_MAX_TIMEOUT),
            whole_number("max_result_chars", max_result_chars, minimum=1),
            tool_choice,
            None if schema is None else answer_schema(schema),
        )

    def facts(self) -> dict[str, Any]:
        """Return what views show of them, as JSON values."""
        tools = [
            {
                "name": sendable(tool.name),
                "description": sendable(str(tool.declaration["function"].get("description") or "")),
            }
            for tool in self.tools.values()
            if tool.function is not None
        ]
        return {
            "tools": tools,
            "decides": self.decide is not None,
            "schema": "" if self.schema is None else sendable(self.schema.name),
            "timeout": self.timeout,
        }

    def options(self) -> dict[str, Any]:
        """Return the options of `gemma_lab.Lab.stream`; without tools and schema there are none."""
        named = {"tool_choice": self.tool_choice, "schema": self.schema}
        return {name: value for name, value in named.items() if value is not None}

    def unattended(self, approve: bool | Approve | None, asks: Collection[str]) -> Approve | None:
        """Return who decides about calls while a cell runs, when nobody can click.

        Parameters
        ----------
        approve
            For one prompt: a function, True, False, or None for what the chat was made with.
        asks
            Names of the tools whose calls wait for a person as the settings are now.

        Raises
        ------
        LabError
            If calls would wait, or `approve` is something else.
        """
        if callable(approve):
            return approve
        if approve is None and self.decide is not None:
            return self.decide
        if approve not in (None, True, False):
            raise LabError(
                f"approve={approve!r:.40} for one prompt.", hint="Pass False, or a function of the call."
            )
        waiting = self.tools if approve else () if approve is False else asks
        if waiting:
            raise unattended(", ".join(waiting))
        return _run_all

    def runner(
        self,
        cards: CallCards,
        *,
        asks: Callable[[], Collection[str]],
        decide: Approve | None,
        halt: threading.Event,
        attended: bool,
    ) -> CardRunner | None:
        """Return what runs the calls of one answer; None without tools. See `Approval` for the parameters."""
        if not self.tools:
            return None
        from .answering import CardRunner

        approval = Approval(cards, self.tools, asks, decide, stopped=halt.is_set, attended=attended)
        return CardRunner(
            self.tools, approval, self.timeout, self.max_result_chars, (halt,), cards=cards, approval=approval
        )


def _run_all(_call: Any) -> bool:
    return True

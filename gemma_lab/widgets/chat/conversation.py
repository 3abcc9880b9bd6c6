"""The prompts of a chat with their answers, as Python values and as the turns that views show."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ...errors import LabError
from .call_cards import CallCards
from .turns import failed_turn, live_turn, user_turn

if TYPE_CHECKING:
    from ...models.chat.reply import Reply
    from ...models.tool_use.runner import ToolRun
    from .attachments import Attachment

#: Shown for an answer that an interrupt ended before its first token.
INTERRUPTED = LabError("Interrupted before the first token.")


@dataclass
class Exchange:
    """One prompt and its answer.

    Attributes
    ----------
    key
        Key of the prompt's turn.
    text, attachments
        The prompt.
    reply
        The answer, the last reply if tools were called; None before there is one, and if it failed.
    run
        The rounds of a chat with tools.
    shown
        The turns as JSON values, see `gemma_lab.widgets.chat.turns`: the prompt's, then one per reply.
    """

    key: int
    text: str
    attachments: list[Attachment]
    reply: Reply | None = None
    run: ToolRun | None = None
    shown: list[dict[str, Any]] = field(default_factory=list)

    def media(self, kind: str) -> list[Any]:
        """Return its media of one kind, in their order."""
        return [each.medium for each in self.attachments if each.kind == kind]


class Conversation:
    """The exchanges of a chat.

    Parameters
    ----------
    publish_turns, publish_calls
        Called with all turns, and with the cards of all calls, whenever one changes.
    """

    def __init__(
        self,
        publish_turns: Callable[[list[dict[str, Any]]], None],
        publish_calls: Callable[[dict[str, list[dict[str, Any]]]], None],
    ) -> None:
        self.exchanges: list[Exchange] = []
        self.cards = CallCards(publish_calls)
        self._publish = publish_turns
        self._last_key = 0

    def next_key(self) -> int:
        """Return the key of the next turn."""
        self._last_key += 1
        return self._last_key

    def open(self, text: str, attachments: list[Attachment]) -> Exchange:
        """Add a prompt, and show it with an answer in progress."""
        exchange = Exchange(self.next_key(), text, attachments)
        self.exchanges.append(exchange)
        self._show_prompt(exchange)
        return exchange

    def reopen(self) -> Exchange:
        """Show the last prompt with an answer in progress.

        Raises
        ------
        LabError
            If there is no prompt.
        """
        if not self.exchanges:
            raise LabError("There is no prompt yet.", hint="Send one first.")
        exchange = self.exchanges[-1]
        exchange.reply = exchange.run = None
        self._show_prompt(exchange)
        return exchange

    def show(self, exchange: Exchange, turns: list[dict[str, Any]]) -> None:
        """Replace the turns of an exchange."""
        exchange.shown = turns
        shown = [turn for each in self.exchanges for turn in each.shown]
        self.cards.keep([turn["key"] for turn in shown])
        self._publish(shown)

    def settle(self) -> None:
        """Close what an interrupt left open: an answer that never began, a call without a result."""
        self.exchanges[:] = [exchange for exchange in self.exchanges if exchange.shown]
        for exchange in self.exchanges:
            *settled, turn = exchange.shown
            if turn.get("state") == "live":
                self.show(exchange, [*settled, failed_turn(turn["key"], INTERRUPTED, [])])
        self.cards.settle()

    def clear(self) -> None:
        """Remove all."""
        self.exchanges.clear()
        self.cards.keep([])
        self._publish([])

    def before(self, exchange: Exchange) -> Reply | None:
        """Return the reply that an exchange continues."""
        replies = [each.reply for each in self.exchanges if each is not exchange and each.reply is not None]
        return replies[-1] if replies else None

    def attachments(self) -> list[Attachment]:
        """Return the media of all prompts."""
        return [attachment for exchange in self.exchanges for attachment in exchange.attachments]

    def _show_prompt(self, exchange: Exchange) -> None:
        entries = [each.entry for each in exchange.attachments]
        turns = [user_turn(exchange.key, exchange.text, entries), live_turn(self.next_key())]
        self.show(exchange, turns)

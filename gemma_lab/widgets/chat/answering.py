"""The generation of an answer: every reply streamed into a turn, calls shown as cards and run."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ...errors import LabError
from ...models.chat.tools import Call
from ...models.loading.restore import RestoreStack
from ...models.tool_use.runner import Execution, Runner, ToolLoop
from ..shared.base import BatchSender, sendable
from .conversation import INTERRUPTED
from .turns import done_turn, failed_turn, live_turn, packed, shown_value

if TYPE_CHECKING:
    from ...lab import Lab
    from ...models.chat.reply import Reply
    from .approval import Approval
    from .call_cards import CallCards
    from .conversation import Conversation, Exchange


@dataclass
class CardRunner(Runner):
    """Runs calls and shows each on its card."""

    cards: CallCards | None = None
    approval: Approval | None = None

    def execute(self, call: Call) -> Execution:
        """Run one call; see `Runner`."""
        assert self.cards is not None
        assert self.approval is not None
        card = self.approval.card = self.cards.next()
        execution = super().execute(call)
        self.cards.end(card, execution)
        return execution

    def skip(self, call: Call) -> Execution:
        """Return why a call is not run, and show it on its card; see `Runner`."""
        assert self.cards is not None
        execution = super().skip(call)
        self.cards.end(self.cards.next(), execution)
        return execution


@dataclass
class Answering:
    """Generates the answer to one prompt.

    Parameters
    ----------
    lab
        The model.
    exchange
        The prompt, whose turn and first live turn are shown already.
    conversation
        The conversation that it is part of.
    post
        Sends a message to the views.
    halt
        Event that stops the answer.
    runner
        Runs the calls; None if the model has no tools.
    max_rounds
        Maximum number of replies.
    """

    lab: Lab
    exchange: Exchange
    conversation: Conversation
    post: Callable[[dict[str, Any]], None]
    halt: threading.Event
    runner: CardRunner | None = None
    max_rounds: int = 8
    sender: BatchSender | None = None
    error: Exception | None = None
    _partial: Any = field(default=None, init=False, repr=False)
    _cut: Reply | None = field(default=None, init=False, repr=False)

    def answer(self, **options: Any) -> Reply:
        """Generate, run the calls, and generate again until a reply calls nothing; return the last reply.

        Its turns are shown as they are in any case, also after an error or an interrupt.
        """
        exchange = self.exchange
        if self.runner is None:
            try:
                exchange.reply = self.generate(exchange.text, **options)
            except KeyboardInterrupt:
                exchange.reply = self._cut
                raise
            return exchange.reply
        loop = ToolLoop(self.generate, self.runner, self.max_rounds)
        with RestoreStack() as restore:
            restore.undo(self.conversation.cards.settle)
            try:
                exchange.run = loop.run(exchange.text, **options)
            except BaseException as error:
                exchange.run = loop.interrupted(self._cut)
                if exchange.run is not None:  # what ran stays part of the conversation
                    exchange.reply = exchange.run.reply
                if isinstance(error, Exception) and error is not self.error:  # of the caller's own approve
                    self.error = error
                    failed = failed_turn(self.conversation.next_key(), shown_error(error), [])
                    self.conversation.show(exchange, [*exchange.shown, failed])
                raise
        exchange.reply = exchange.run.reply
        if exchange.run.ended == "max_rounds":
            last = {**exchange.shown[-1], "note": f"ended after {self.max_rounds} replies (max_rounds)"}
            self.conversation.show(exchange, [*exchange.shown[:-1], last])
        return exchange.reply

    def generate(self, prompt: str | None, **options: Any) -> Reply:
        """Stream one reply into a turn of its own, and replace the live turn in any case."""
        exchange = self.exchange
        if exchange.shown[-1].get("state") != "live":
            self.conversation.show(exchange, [*exchange.shown, live_turn(self.conversation.next_key())])
        *settled, live = exchange.shown
        key, final = live["key"], live
        before = self.lab.last_reply

        with RestoreStack() as restore:
            restore.undo(lambda: self.conversation.show(exchange, [*settled, final]))
            sender = self.sender = BatchSender(lambda at, batch: self._deliver(key, at, batch))
            restore.undo(sender.close)
            try:
                reply = self._stream(prompt, sender, options)
                final = done_turn(key, reply)
            except KeyboardInterrupt:
                partial = self.lab.last_reply
                if partial is not None and partial is not before:
                    self._cut = partial
                    final = done_turn(key, partial)
                else:
                    final = failed_turn(key, INTERRUPTED, sender.items())
                raise
            except Exception as error:
                self.error = error
                final = failed_turn(key, shown_error(error), sender.items())
                raise
        if self.runner is not None and reply.finish_reason == "stop" and reply.calls:
            self.conversation.cards.open(key, reply.calls, self.runner.tools)
        return reply

    def post_all(self, key: int) -> None:
        """Send the tokens of the live turn so far, for a view that was opened meanwhile."""
        if self.sender is not None:
            self._deliver(key, 0, self.sender.items())

    def _deliver(self, key: int, at: int, batch: list[Any]) -> None:
        message = {"type": "tokens", "key": key, "at": at, "tokens": batch}
        self.post(message if self._partial is None else message | {"value": shown_value(self._partial)})

    def _stream(self, prompt: str | None, sender: BatchSender, options: dict[str, Any]) -> Reply:
        """Stream one reply into `sender`; return it, partial if it was stopped."""
        self._partial = None
        with self.lab.stream(prompt, **options, stop=self.halt) as stream:
            for chunk in stream:
                self._partial = getattr(chunk, "partial", None)
                sender.put(packed(chunk.tokens))
        return stream.reply


def shown_error(error: Exception) -> LabError:
    """Return an error as views show it."""
    if isinstance(error, LabError):
        return error
    hint = "This error was not expected; chat.error holds the exception."
    return LabError(sendable(f"{type(error).__name__}: {error}"), hint=hint)

"""Types that the modules of this package share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

#: A message of a conversation: ``{"role": …, "content": …}`` (`gemma_lab.models.chat.messages`).
Message = dict[str, Any]
#: A declared function: ``{"type": "function", "function": {…}}`` (`gemma_lab.models.chat.tools`).
Tool = dict[str, Any]


class Previous(Protocol):
    """Interface of a reply that a conversation is continued from (`gemma_lab.models.chat.reply.Reply`)."""

    @property
    def messages(self) -> list[Message]:
        """The conversation with the answer."""

    @property
    def tools(self) -> tuple[Tool, ...]:
        """The functions that were declared to the model."""

    @property
    def calls(self) -> Sequence[Any]:
        """The calls that the model asks for (`gemma_lab.models.chat.tools.Call`)."""

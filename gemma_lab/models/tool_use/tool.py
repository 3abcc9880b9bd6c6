"""A tool that can be declared to a model and run: a function, or a tool of an MCP server."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Tool:
    """A function with its declaration.

    Attributes
    ----------
    declaration
        What the model is told, in OpenAI's form: ``{"type": "function", "function": {"name", …}}``.
    function
        Called with the arguments as keywords; may be a coroutine function. None for what is only declared.
    source
        Where it comes from, for people: ``"function"``, ``"declaration"`` or the name of an MCP server.
    """

    declaration: Mapping[str, Any]
    function: Callable[..., Any] | None = field(repr=False)
    source: str = "function"

    @property
    def name(self) -> str:
        """Its name, as the model writes it."""
        return str(self.declaration["function"]["name"])

    def __repr__(self) -> str:
        return f"Tool({self.name}, {self.source})"

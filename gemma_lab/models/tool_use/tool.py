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
        Declaration in OpenAI's form: ``{"type": "function", "function": {"name", …}}``.
    function
        Called with the arguments as keywords; may be a coroutine function. None for a mere declaration.
    source
        Origin of the tool: ``"function"``, ``"declaration"`` or the name of an MCP server.
    """

    declaration: Mapping[str, Any]
    function: Callable[..., Any] | None = field(repr=False)
    source: str = "function"

    @property
    def name(self) -> str:
        """The name by which the model calls the tool."""
        return str(self.declaration["function"]["name"])

    def __repr__(self) -> str:
        return f"Tool({self.name}, {self.source})"

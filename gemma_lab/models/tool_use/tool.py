"""A tool that can be declared to a model and run: a function, or a tool of an MCP server."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ...errors import BadPrompt
from ..chat.tools import declared


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


def tools_of(given: Iterable[Any]) -> dict[str, Tool]:
    """Return tools by name.

    Parameters
    ----------
    given
        Functions, `Tool`, MCP servers (their tools), or declarations, which the model may ask for but nothing runs.

    Raises
    ------
    BadPrompt
        If two have one name, or one cannot be declared.
    """
    from .mcp import McpServer

    if isinstance(given, Mapping | Tool | McpServer) or callable(given):
        given = [given]
    found: dict[str, Tool] = {}
    for one in given:
        for tool in one.tools if isinstance(one, McpServer) else [_tool(one)]:
            if tool.name in found:
                raise BadPrompt(f"Two tools are named {tool.name}.", hint="Give each a name of its own.")
            found[tool.name] = tool
    return found


def _tool(one: Any) -> Tool:
    if isinstance(one, Tool):
        return one
    declaration = declared([one])[0]
    if not callable(one):
        return Tool(declaration, None, "declaration")
    # a type (pydantic model, dataclass) declares its fields; calling it makes an instance, which is the result
    return Tool(declaration, functools.partial(one), "function")

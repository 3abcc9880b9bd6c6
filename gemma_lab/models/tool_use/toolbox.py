"""The tools of a run, by name, from whatever a user passes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ...errors import BadPrompt
from ..chat.tools import declared
from .mcp import McpServer
from .tool import Tool


def tools_of(given: Iterable[Any]) -> dict[str, Tool]:
    """Return tools by name.

    Parameters
    ----------
    given
        Functions, `Tool`, MCP servers (their tools), or declarations, which the model may ask for but
        nothing runs.

    Raises
    ------
    BadPrompt
        If two have one name, or one cannot be declared.
    """
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
    # a type (pydantic model, dataclass) declares its fields; calling it makes an instance, which is the
    # result
    return Tool(declaration, one, "function")

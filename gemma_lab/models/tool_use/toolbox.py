"""Collect the tools of a run by name: functions, tools, MCP servers and declarations."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ...errors import BadPrompt
from ..chat.tools import declared
from .mcp import McpServer
from .tool import Tool


def tools_of(tools: Iterable[Any]) -> dict[str, Tool]:
    """Return tools by name.

    Parameters
    ----------
    tools
        Functions, `Tool` objects, MCP servers (all their tools), or declarations, which the model can call
        but nothing executes.

    Raises
    ------
    BadPrompt
        If two tools have the same name, or one cannot be declared.
    """
    if isinstance(tools, Mapping | Tool | McpServer) or callable(tools):
        tools = [tools]
    by_name: dict[str, Tool] = {}
    for item in tools:
        for tool in item.tools if isinstance(item, McpServer) else [_tool(item)]:
            if tool.name in by_name:
                raise BadPrompt(f"Two tools are named {tool.name}.", hint="Rename one of them.")
            by_name[tool.name] = tool
    return by_name


def _tool(one: Any) -> Tool:
    if isinstance(one, Tool):
        return one
    declaration = declared([one])[0]
    if not callable(one):
        return Tool(declaration, None, "declaration")
    # a type (pydantic model, dataclass) declares its fields; calling it makes an instance, which is the
    # result
    return Tool(declaration, one, "function")

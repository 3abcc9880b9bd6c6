"""Declare tools, read the calls that a model makes, and check their arguments. No function is ever executed.

The syntax of a call is described in `gemma_lab.models.chat.tool_call_parser`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ...checks import type_name
from ...errors import BadPrompt
from .argument_checks import check_schema, violations
from .function_schema import declaration, declares
from .plain_json import as_mapping, plain, refuse_control, short
from .tool_call_parser import BadCall, read_call
from .tool_schema import normalize, property_names
from .types import Previous, Tool

_SPAN = re.compile(r"<\|tool_call>(.*?)(<tool_call\|>|(?=<\|tool_call>)|\Z)", re.DOTALL)
_NAME = re.compile(r"[A-Za-z_][\w.-]*\Z")
#: Where a declaration has its schema: OpenAI and transformers; MCP; Anthropic.
_SCHEMAS = ("parameters", "inputSchema", "input_schema")
_EXAMPLE = (
    'Pass a function with type hints, or {"type": "function", "function": {"name": …, "parameters": …}}.'
)


@dataclass(frozen=True)
class Call:
    """One call that a model asks for.

    Attributes
    ----------
    name, arguments
        The function and its arguments, as plain values; empty when the call cannot be read.
    text
        What the model wrote, without the delimiters around it.
    problem
        Why it cannot be read; ``""`` when it can.
    """

    name: str
    arguments: dict[str, Any] = field(default_factory=dict)
    text: str = field(default="", compare=False, repr=False)
    problem: str = ""

    @property
    def message(self) -> dict[str, Any]:
        """The call as an entry of a message's ``tool_calls``."""
        return {"type": "function", "function": {"name": self.name, "arguments": self.arguments}}

    def faults(self, tools: Any) -> list[str]:
        """Return why this is no call of one of the tools; empty if it is one.

        The name and every argument are checked against the declared schema, at every depth: missing and
        unknown arguments, types, enums and limits. A model can write anything: check before calling.

        Parameters
        ----------
        tools
            Tools as ``chat`` accepts them, or ``reply.tools``.
        """
        if self.problem:
            return [self.problem]
        for tool in declared(tools):
            if tool["function"]["name"] == self.name:
                parameters = tool["function"].get("parameters") or {"type": "object", "properties": {}}
                return list(violations(self.arguments, parameters))
        return [f"no function named {self.name} is declared"]


def calls(text: str, tools: Iterable[Tool] = ()) -> tuple[Call, ...]:
    """Parse the calls in a generated text, in order; calls that cannot be parsed have a `problem`.

    Parameters
    ----------
    text
        Text with the delimiters ``<|tool_call>`` and ``<tool_call|>`` in it.
    tools
        What was declared, as `declared` returns it: the names of arguments help to read them.
    """
    keys: set[str] = set()
    for tool in tools:
        keys |= property_names(tool["function"].get("parameters") or {})
    read = []
    for span in _SPAN.finditer(text):
        inside, closed = span[1], bool(span[2])
        try:
            if not closed:
                raise BadCall("it was cut off")
            name, arguments = read_call(inside, keys)
        except BadCall as error:
            read.append(Call("", text=inside, problem=str(error)))
        else:
            read.append(Call(name, arguments, text=inside))
    return tuple(read)


def declared(tools: Any) -> tuple[Tool, ...]:
    """Return tools as the chat format takes them.

    Parameters
    ----------
    tools
        One tool or several; None for none. A tool is a declaration in OpenAI's format (or only its inner
        ``function`` object), in MCP's (``inputSchema``) or in Anthropic's (``input_schema``); a Python
        function, described by its name, docstring and type hints; or a pydantic model, dataclass or
        TypedDict, whose fields are the arguments. Nothing is called.

    Raises
    ------
    BadPrompt
        If one is none of these, its name is not valid or occurs twice, its text holds a control token, or its
        parameters hold what a declaration cannot express (`gemma_lab.models.chat.tool_schema`).
    """
    if tools is None:
        return ()
    is_one = isinstance(tools, Mapping | str | bytes) or callable(tools) or not isinstance(tools, Iterable)
    if is_one or callable(getattr(tools, "model_dump", None)):  # MCP's class of a tool is iterable
        tools = [tools]
    declarations = tuple(_tool(tool, index) for index, tool in enumerate(tools))
    names = [tool["function"]["name"] for tool in declarations]
    if duplicates := sorted({name for name in names if names.count(name) > 1}):
        raise BadPrompt(f"Two tools are named {', '.join(duplicates)}.", hint="Give each another name.")
    return declarations


def declared_for(previous: Previous | None, tools: Any) -> tuple[Tool, ...]:
    """Return the tools of a turn: those that were passed, or those of the reply that it continues."""
    if tools is None:
        return () if previous is None else previous.tools
    return declared(tools)


def result_value(result: Any, where: str) -> Any:
    """Return a tool's result as plain JSON; of an MCP result its structured content, else its text."""
    if not isinstance(result, type) and (fields := as_mapping(result)) is not None and _is_mcp_result(fields):
        result = _mcp_result(fields, where)
    return plain(result, where)


def check_name(name: Any, where: str) -> str:
    """Return the name of a function, or raise `BadPrompt` if the call syntax cannot hold it."""
    if not isinstance(name, str) or not _NAME.match(name):
        raise BadPrompt(f"{where} is named {short(name)}.", hint="Use letters, digits, _ . and -.")
    return str.__str__(name)


def _tool(tool: Any, index: int) -> Tool:
    if declares(tool):
        try:
            tool = declaration(tool)
        except RecursionError as error:
            raise BadPrompt(
                f"The types of tool {index} are nested too deep.", hint="Flatten them."
            ) from error
    elif callable(tool) and not isinstance(tool, Mapping):
        raise BadPrompt(
            f"Tool {index} is no function and no class of fields: {short(tool)}.",
            hint="Wrap it in a def with type hints; functools.partial and callable objects have no name.",
        )
    fields = as_mapping(tool)
    if fields is not None and isinstance(fields.get("function"), Mapping):
        fields = {key: value for key, value in fields["function"].items() if value is not None}
    if fields is None or not isinstance(fields.get("name"), str):
        raise BadPrompt(f"Tool {index} is {type_name(tool)} without a name.", hint=_EXAMPLE)
    if fields.get("type") not in (None, "function", "custom"):
        raise BadPrompt(f"Tool {index} is of type {short(fields['type'])}.", hint=_EXAMPLE)
    name = check_name(fields["name"], f"Tool {index}")
    description = fields.get("description") or ""
    if not isinstance(description, str):
        raise BadPrompt(f"The description of {name} is {short(description)}.", hint="Pass text.")
    refuse_control(description, f"The description of {name}")
    function: dict[str, Any] = {"name": name, "description": description}
    schemas = [key for key in _SCHEMAS if fields.get(key) is not None]
    if len(schemas) > 1:
        raise BadPrompt(f"{name} has both {' and '.join(schemas)}.", hint="Pass one of them.")
    if schemas and (fields[schemas[0]] != {} if isinstance(fields[schemas[0]], Mapping) else True):
        function["parameters"] = _parameters(fields[schemas[0]], name)
    return {"type": "function", "function": function}


def _parameters(schema: Any, name: str) -> dict[str, Any]:
    if isinstance(schema, type) and declares(schema):
        schema = declaration(schema)["parameters"]
    normalized = normalize(schema, f"{name}(…)")
    check_schema(normalized, name)
    names = property_names(normalized)
    for key in names:
        try:
            readable = read_call(f"call:f{{{key}:1}}", names)[1] == {key: 1}
        except BadCall:
            readable = False
        if not readable or not key:
            raise BadPrompt(
                f"{name} has an argument named {key[:40]!r}, which a call cannot carry.",
                hint="Use letters, digits and _ in names of arguments.",
            )
    return normalized


def _is_mcp_result(fields: Mapping[str, Any]) -> bool:
    """Return whether a result is a ``CallToolResult`` of MCP, by its fields."""
    is_listed = isinstance(fields.get("content"), list)
    return is_listed and bool({"structuredContent", "isError"} & set(fields))


def _mcp_result(fields: Mapping[str, Any], where: str) -> Any:
    parts = [as_mapping(part) or {} for part in fields["content"]]
    other = [part.get("type") for part in parts if part.get("type") != "text"]
    if other:
        raise BadPrompt(
            f"{where} has a part of type {short(other[0])}.",
            hint="Results are text or data; send media with the next question.",
        )
    text = "\n".join(str(part.get("text", "")) for part in parts)
    if fields.get("isError"):
        return {"error": text}
    structured = fields.get("structuredContent")
    return text if structured is None else structured

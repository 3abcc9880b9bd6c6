"""Tools: what a model may call, which calls it made, and how results go back. Nothing is ever executed here.

Gemma 4's syntax is ``<|tool_call>call:NAME{key:value,…}<tool_call|>``. Strings stand between ``<|"|>``, keys
are bare, numbers, ``true``, ``false``, ``null``, lists and objects are as in JSON.
"""

from __future__ import annotations

import inspect
import re
import types
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ...errors import BadPrompt
from .tool_call_parser import BadCall, read_call

if TYPE_CHECKING:
    from .messages import Message
    from .reply import Reply

Tool = dict[str, Any]

_SPAN = re.compile(r"<\|tool_call>(.*?)(<tool_call\|>|(?=<\|tool_call>)|\Z)", re.DOTALL)
_NAME = re.compile(r"[A-Za-z_][\w.-]*\Z")
#: What the chat format itself writes; in text from outside it would be read as that.
_PAIRED = "turn|tool|tool_call|tool_response|channel|image|audio"
_CONTROL = re.compile(
    rf'<\|(?:{_PAIRED})>|<(?:{_PAIRED})\|>|<\|(?:think|image|audio|video|")\|>|<(?:bos|eos)>'
)
_TYPES = {str: "string", int: "integer", float: "number", bool: "boolean", list: "array", dict: "object"}
_OPEN = "string, integer, number, boolean, array or object"


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

    def faults(self, tools: Iterable[Tool]) -> list[str]:
        """Return what keeps this call from being one of the declared functions; empty when nothing does.

        Names, missing and unknown arguments and their JSON types are looked at. Do so before you call
        anything: a model can write whatever it likes.
        """
        if self.problem:
            return [self.problem]
        for tool in tools:
            if tool["function"]["name"] == self.name:
                return list(_misfits(self.arguments, tool["function"].get("parameters") or {}))
        return [f"no function named {self.name} is declared"]


def calls(text: str) -> tuple[Call, ...]:
    """Return the calls in what a model wrote, in order; those that cannot be read say why.

    Parameters
    ----------
    text
        Text with the delimiters ``<|tool_call>`` and ``<tool_call|>`` in it.
    """
    found = []
    for span in _SPAN.finditer(text):
        inside, closed = span[1], bool(span[2])
        try:
            if not closed:
                raise BadCall("it was cut off")
            name, arguments = read_call(inside)
        except BadCall as error:
            found.append(Call("", text=inside, problem=str(error)))
        else:
            found.append(Call(name, arguments, text=inside))
    return tuple(found)


def declared(tools: Iterable[Tool | Callable[..., Any]]) -> tuple[Tool, ...]:
    """Return tools as the chat format takes them.

    Parameters
    ----------
    tools
        Declarations as OpenAI's, ``{"type": "function", "function": {"name", "description",
        "parameters"}}``, the inner part alone, or Python functions, of which name, first line of the
        docstring and type hints are read; they are not called.

    Raises
    ------
    BadPrompt
        If one is neither, its name is no name or given twice, or its text holds a control token.
    """
    if isinstance(tools, Mapping) or callable(tools):
        tools = [tools]  # type: ignore[list-item]
    made = tuple(_tool(tool, place) for place, tool in enumerate(tools))
    names = [tool["function"]["name"] for tool in made]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise BadPrompt(f"Two tools are named {', '.join(twice)}.", hint="Give each a name of its own.")
    return made


def declared_for(
    previous: Reply | None, tools: Iterable[Tool | Callable[..., Any]] | None
) -> tuple[Tool, ...]:
    """Return the tools of a turn: those that were passed, or else those of the reply that it goes on from."""
    if tools is None:
        return () if previous is None else previous.tools
    return declared(tools)


def with_results(reply: Reply | None, results: Sequence[Any], prompt: object = None) -> list[Message]:
    """Return the conversation of a reply with what its calls gave, ready to go on.

    Parameters
    ----------
    reply
        One that made calls.
    results
        One result a call, in order: a mapping, or any other plain value.
    prompt
        Must be None: the model is to answer from the results first.

    Raises
    ------
    BadPrompt
        If there is no reply, or a prompt as well; if there are more or fewer results than calls; if a call
        could not be read; if a result holds a control token: it would end the result, and the model would
        take the rest for the chat format's own.
    """
    if reply is None or prompt is not None:
        raise BadPrompt(
            "Results of tools go to the reply that called them, without a new prompt.",
            hint="lab.chat(after=reply, tool_results=[…]); ask the next question after the answer.",
        )
    made = reply.calls
    broken = [call for call in made if call.problem]
    if broken:
        raise BadPrompt(f"A call of the reply cannot be read: {broken[0].problem}.", hint="Ask again.")
    if isinstance(results, str | Mapping) or len(results) != len(made) or not made:
        given = 1 if isinstance(results, str | Mapping) else len(results)
        raise BadPrompt(
            f"The reply made {len(made)} call{'' if len(made) == 1 else 's'} and there "
            f"{'is' if given == 1 else 'are'} {given} result{'' if given == 1 else 's'} that "
            f"{'is' if isinstance(results, str | Mapping) else 'are'} {type(results).__name__}.",
            hint="Pass a list with one result a call of reply.calls, in order.",
        )
    refuse_control(results, "A tool's result")
    responses = [{"name": call.name, "response": result} for call, result in zip(made, results, strict=True)]
    *before, last = reply.messages
    return [*before, {**last, "tool_responses": responses}]


def refuse_control(value: Any, where: str) -> None:
    """Raise `BadPrompt` if any text in a plain value holds a control token of the chat format."""
    if isinstance(value, str):
        if found := _CONTROL.search(value):
            raise BadPrompt(
                f"{where} holds {found[0]}, which the chat format would read as its own.",
                hint="Take it out, or put a space inside: what comes from outside must not speak for others.",
            )
    elif isinstance(value, Mapping):
        for key, item in value.items():
            refuse_control(key, where)
            refuse_control(item, where)
    elif isinstance(value, list | tuple):
        for item in value:
            refuse_control(item, where)


def _tool(tool: Any, place: int) -> Tool:
    if callable(tool):
        tool = _of_function(tool)
    function = tool.get("function", tool) if isinstance(tool, Mapping) else None
    if not isinstance(function, Mapping) or not isinstance(function.get("name"), str):
        raise BadPrompt(
            f"Tool {place} is a {type(tool).__name__} without a name.",
            hint='Pass a function with type hints, or {"type": "function", "function": {"name": …}}.',
        )
    if not _NAME.match(function["name"]):
        raise BadPrompt(
            f"Tool {place} is named {function['name'][:40]!r}.", hint="Use letters, digits, _ . and -."
        )
    refuse_control(function, f"The declaration of {function['name']}")
    return {"type": "function", "function": {"description": "", **function}}


def _of_function(function: Callable[..., Any]) -> Tool:
    """Return the declaration of a Python function."""
    hints = typing.get_type_hints(function)
    properties, required = {}, []
    for name, parameter in inspect.signature(function).parameters.items():
        properties[name] = _schema(hints.get(name), f"{function.__name__}({name})")
        if parameter.default is parameter.empty:
            required.append(name)
    parameters: dict[str, Any] = {"type": "object", "properties": properties}
    if required:
        parameters["required"] = required
    described = (inspect.getdoc(function) or "").split("\n", 1)[0].rstrip(".")
    return {"name": function.__name__, "description": described, "parameters": parameters}


def _schema(hint: Any, where: str) -> dict[str, Any]:
    """Return the JSON schema of a type hint."""
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        some = [each for each in inner if each is not type(None)]
        if len(some) == 1:
            return {**_schema(some[0], where), "nullable": True}
    if origin is typing.Literal and all(isinstance(each, str) for each in inner):
        return {"type": "string", "enum": list(inner)}
    kind = _TYPES.get(origin or hint)
    if kind is None:
        raise BadPrompt(f"The type of {where} is {hint!r}.", hint=f"Annotate it with what JSON has: {_OPEN}.")
    items = {"items": _schema(inner[0], where)} if kind == "array" and inner else {}
    return {"type": kind, **items}


def _misfits(arguments: Mapping[str, Any], parameters: Mapping[str, Any]) -> Iterable[str]:
    properties = parameters.get("properties") or {}
    for name in parameters.get("required") or []:
        if name not in arguments:
            yield f"the argument {name} is missing"
    for name, value in arguments.items():
        if name not in properties:
            yield f"there is no argument {name}"
        elif not _is_of(value, properties[name]):
            yield f"the argument {name} is {value!r}, not {properties[name].get('type')}"


def _is_of(value: Any, schema: Mapping[str, Any]) -> bool:
    kinds: dict[str, tuple[type, ...]] = {
        "string": (str,), "integer": (int,), "number": (int, float), "boolean": (bool,), "array": (list,),
        "object": (dict,), "null": (type(None),),
    }  # fmt: skip
    if value is None and schema.get("nullable"):
        return True
    wanted = schema.get("type")
    named = wanted if isinstance(wanted, list) else [wanted]
    allowed = tuple(one for kind in named for one in kinds.get(str(kind).lower(), (object,)))
    if isinstance(value, bool) and bool not in allowed and object not in allowed:
        return False
    return isinstance(value, allowed) and ("enum" not in schema or value in schema["enum"])

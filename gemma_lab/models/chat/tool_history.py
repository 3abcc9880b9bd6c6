"""Tool calls and results of a conversation in one form, whichever API it was written for.

A message that calls tools becomes ``{"role": "assistant", "content": …, "tool_calls": […],
"tool_responses": [{"name": …, "response": …}]}``. All chat templates of Gemma 4 write that form the same way;
tool messages with ids, which some of them match wrongly or not at all, are folded into it.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ...checks import type_name
from ...errors import BadPrompt
from .plain_json import as_mapping, check_encodable, iterated, plain, short
from .tool_call_parser import BadCall, read_call, write_call
from .tools import check_name, result_value

if TYPE_CHECKING:
    from .types import Message, Previous

_CALL = '{"type": "function", "function": {"name": "find", "arguments": {"name": "Ada"}}}'


@dataclass
class Result:
    """One result of a tool, not yet matched with its call.

    Attributes
    ----------
    response
        The result, as plain JSON.
    where
        The message that it came in, to begin an error with.
    call_id, name
        The call it answers, as far as the message says.
    """

    response: Any
    where: str
    call_id: str | None = None
    name: str | None = None


@dataclass
class Caller:
    """A message that calls tools, and the results that followed it."""

    message: Message
    where: str
    ids: list[str | None]
    results: list[Result] = field(default_factory=list)

    def resolve(self) -> None:
        """Assign every result to its call, in the order of the calls.

        Raises
        ------
        BadPrompt
            If a result belongs to no call, two belong to one, or some calls have a result and others none.
        """
        names = [call["function"]["name"] for call in self.message["tool_calls"]]
        responses: dict[int, Result] = {}
        # results with an id first, then those with a name, then those matched by order alone
        for result in sorted(self.results, key=lambda each: (each.call_id is None, each.name is None)):
            index = self._index(result, names, responses)
            if index in responses:
                raise BadPrompt(f"{result.where} is a second result of one call.", hint="Send one per call.")
            responses[index] = result
        if self.results and len(responses) < len(names):
            missing = next(index for index in range(len(names)) if index not in responses)
            raise BadPrompt(
                f"{self.where} makes {len(names)} calls; call {missing} ({names[missing]}) has no result.",
                hint="Send one result per call, right after the calls.",
            )
        if responses:
            self.message["tool_responses"] = [
                {"name": names[index], "response": responses[index].response} for index in range(len(names))
            ]

    def _index(self, result: Result, names: list[str], taken: dict[int, Result]) -> int:
        """Return the call that a result answers."""
        free = [index for index in range(len(names)) if index not in taken]
        if result.call_id is not None:
            if result.call_id not in self.ids:
                known = ", ".join(map(repr, filter(None, self.ids))) or "none: the calls have no ids"
                raise BadPrompt(
                    f"{result.where} answers the call {result.call_id!r}, which {self.where} does not make.",
                    hint=f"Its ids are {known}.",
                )
            index = self.ids.index(result.call_id)
            if result.name not in (None, names[index]):
                raise BadPrompt(
                    f"{result.where} is of {result.name}, the call {result.call_id!r} is of {names[index]}.",
                    hint="Leave the name out, or correct one of them.",
                )
            return index
        if result.name is not None:
            free = [index for index in free if names[index] == result.name]
        if not free:
            named = f" of {result.name}" if result.name is not None else ""
            raise BadPrompt(
                f"{result.where} is a result{named}, and {self.where} makes no such call that has none yet.",
                hint="Name the call with tool_call_id.",
            )
        return free[0]


def with_results(reply: Previous | None, results: Any, prompt: object = None) -> list[Message]:
    """Return the conversation of a reply with the results of its calls, ready to go on.

    Parameters
    ----------
    reply
        A reply with calls.
    results
        A list with one result per call, in order: anything that `plain_json.plain` takes.
    prompt
        Must be None: the model is to answer from the results first.

    Raises
    ------
    BadPrompt
        If there is no reply, or a prompt as well; if there are more or fewer results than calls; if a call
        could not be read; if a result has no plain form or holds a control token, which would end the result.
    """
    if reply is None or prompt is not None:
        raise BadPrompt(
            "tool_results need a reply with calls, without a new prompt.",
            hint="lab.chat(previous=reply, tool_results=[…]); ask the next question after the answer.",
        )
    calls = reply.calls
    if unreadable := [call for call in calls if call.problem]:
        raise BadPrompt(f"A call of the reply cannot be read: {unreadable[0].problem}.", hint="Ask again.")
    listed = iterated(results)
    if listed is None or len(listed) != len(calls) or not calls:
        passed = type_name(results) if listed is None else f"{len(listed)}"
        raise BadPrompt(
            f"The reply made {len(calls)} call{'' if len(calls) == 1 else 's'}; tool_results is {passed}.",
            hint="Pass a list with one result per call of reply.calls, in order.",
        )
    responses = [
        {"name": call.name, "response": result_value(result, f"The result of {call.name}")}
        for call, result in zip(calls, listed, strict=True)
    ]
    *before, last = reply.messages
    return [*before, {**last, "tool_responses": responses}]


def read_calls(value: Any, where: str) -> tuple[list[Message], list[str | None]]:
    """Return the calls of a message in one form, and their ids.

    Raises
    ------
    BadPrompt
        If one is not in OpenAI's form, its arguments are no JSON object, or the chat format cannot hold it.
    """
    listed = [value] if as_mapping(value) is not None else value
    if not isinstance(listed, list | tuple):
        raise BadPrompt(f"tool_calls of {where} is {short(value)}.", hint=f"Pass a list: [{_CALL}].")
    calls, ids = [], []
    for index, each in enumerate(listed):
        call_where = f"Call {index} of {where}"
        fields = as_mapping(each) or {}
        function = as_mapping(fields.get("function"))
        if function is None:
            raise BadPrompt(
                f"{call_where} has no function: {short(each)}.",
                hint=f'Put name and arguments under "function": {_CALL}.',
            )
        calls.append(one_call(function.get("name"), function.get("arguments"), call_where))
        ids.append(_id(fields.get("id"), call_where))
    known = [each for each in ids if each is not None]
    if len(set(known)) < len(known):
        raise BadPrompt(f"Two calls of {where} have the same id.", hint="Give each call another id.")
    return calls, ids


def one_call(name: Any, arguments: Any, where: str) -> Message:
    """Return one call in one form, with arguments parsed from JSON where they are text."""
    check_name(name, where)
    parsed = plain(_parsed(arguments, where), f"{where} ({name}): arguments")
    if not isinstance(parsed, dict):
        raise BadPrompt(
            f"{where} ({name}) has the arguments {short(parsed)}.", hint="Arguments are an object."
        )
    try:
        readable = read_call(write_call(name, parsed), _keys(parsed)) == (name, parsed)
    except BadCall:
        readable = False
    if not readable:
        raise BadPrompt(
            f"{where} ({name}) has an argument that the chat format cannot hold: {short(list(parsed))}.",
            hint="Use letters, digits and _ in names of arguments.",
        )
    return {"type": "function", "function": {"name": name, "arguments": parsed}}


def read_responses(value: Any, where: str) -> list[Result]:
    """Return the results in Google's form, ``tool_responses`` of the message that calls."""
    listed = [value] if as_mapping(value) is not None else value
    if not isinstance(listed, list | tuple):
        raise BadPrompt(
            f"tool_responses of {where} is {short(value)}.", hint='Pass [{"name": …, "response": …}].'
        )
    results = []
    for index, each in enumerate(listed):
        fields = as_mapping(each)
        if fields is None or "response" not in fields:
            raise BadPrompt(
                f"Result {index} of {where} has no response: {short(each)}.",
                hint='Pass {"name": …, "response": …}.',
            )
        result_where = f"Result {index} of {where}"
        name = fields.get("name")
        results.append(
            Result(
                result_value(fields["response"], result_where),
                result_where,
                name=None if name is None else str(name),
            )
        )
    return results


def read_result(message: Message, where: str) -> Result:
    """Return the result in a tool message; parts of text are joined.

    Raises
    ------
    BadPrompt
        If it holds media or control tokens, or has no plain form.
    """
    call_id = next(
        (message[key] for key in ("tool_call_id", "call_id") if message.get(key) is not None), None
    )
    name = message.get("name")
    if name is not None and not isinstance(name, str):
        raise BadPrompt(f"{where} has the name {short(name)}.", hint="Pass the name of the function.")
    response = tool_content(message.get("content"), where)
    return Result(response, where, _id(call_id, where), None if name is None else str.__str__(name))


def tool_content(content: Any, where: str) -> Any:
    """Return what a tool gave back: text, the joined text of parts, or plain JSON."""
    parts = [as_mapping(part) for part in content] if isinstance(content, list | tuple) else []
    if parts and all(part is not None and isinstance(part.get("type"), str) for part in parts):
        known = [part for part in parts if part is not None]
        other = [part["type"] for part in known if part["type"] not in ("text", "input_text", "output_text")]
        if other:
            raise BadPrompt(
                f"{where} holds a part of type {other[0]!r}; results are text or data.",
                hint="Send media in a user message after the results.",
            )
        content = "".join(_text(part.get("text"), where) for part in known)
    return result_value(content, where)


def _keys(value: Any) -> set[str]:
    """Return all keys of plain JSON, at every depth."""
    items = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return set(value if isinstance(value, dict) else ()).union(*map(_keys, items))


def _text(text: Any, where: str) -> str:
    if not isinstance(text, str):
        raise BadPrompt(f"The text of a part of {where} is {short(text)}.", hint="Pass a string.")
    return text


def _id(value: Any, where: str) -> str | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise BadPrompt(f"{where} has the id {short(value)}.", hint="Ids are strings.")
    return str(value)


def _parsed(arguments: Any, where: str) -> Any:
    """Return arguments as a mapping; OpenAI's API sends them as JSON text."""
    if arguments is None or arguments == "":
        return {}
    if not isinstance(arguments, str):
        fields = as_mapping(arguments)
        return arguments if fields is None else fields
    check_encodable(arguments, f"The arguments of {where}")
    try:
        parsed = json.loads(arguments, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise BadPrompt(
            f"The arguments of {where} are no JSON: {error or 'nested too deep'}: {short(arguments)}.",
            hint='Pass a mapping, or its JSON text: \'{"name": "Ada"}\'.',
        ) from error
    return {} if parsed is None else parsed


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON value")

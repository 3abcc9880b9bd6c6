"""Render messages so that every revision of Gemma 4's chat template keeps the order of texts and calls.

The templates render the thoughts, calls and results of a message before its text, so text before a call would
move behind the result; some do not close a turn that ends with a result. `written` marks these positions in
the messages and corrects the rendered text.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

from ...errors import BadPrompt
from .types import Message, Tool

_REASONING = ("reasoning", "reasoning_content", "thinking")
#: Two Unicode noncharacters that enclose the number of an inserted text.
_OPEN, _CLOSE = "\U0010fffe", "\U0010ffff"
_PLACE = re.compile(rf"<\|tool_call>call:{_OPEN}(\d+){_CLOSE}")
_NOTHING = f"{_OPEN}{_CLOSE}"
_NULL = f"{_OPEN}null{_CLOSE}"


def for_template(messages: list[Message]) -> list[Message]:
    """Return the messages for the chat template, without the thoughts of earlier turns.

    The model card recommends that. Inside a turn with tool calls thoughts are kept, since it is not finished.
    """
    last = max((index for index, message in enumerate(messages) if message["role"] == "user"), default=-1)
    return [
        message
        if index > last and message.get("tool_calls")
        else {key: value for key, value in message.items() if key not in _REASONING}
        for index, message in enumerate(messages)
    ]


def written(messages: list[Message], apply: Callable[[list[Message]], str]) -> str:
    """Render messages with a chat template, with every text at its original position.

    Parameters
    ----------
    messages
        A conversation (`gemma_lab.models.chat.messages.conversation`).
    apply
        Renders messages with the template.

    Raises
    ------
    BadPrompt
        If the template does not write the calls of a message that has text as well.
    """
    inserted: list[str] = []
    marked = _marked(for_template(messages), inserted)
    for message, following in pairwise(marked):
        if message.get("tool_responses") and not message["content"] and following["role"] != "assistant":
            message["content"] = _NOTHING  # the turn is over: some templates only close it after a text
    text = apply([_without_null(message) for message in marked])
    text = text.replace(f'<|"|>{_NULL}<|"|>', "null").replace(
        f"<tool_response|>{_NOTHING}", "<tool_response|>"
    )
    places: list[int] = []

    def insert(match: re.Match[str]) -> str:
        places.append(int(match[1]))
        return f"{inserted[int(match[1])]}<|tool_call>call:"

    text = _PLACE.sub(insert, text) if inserted else text
    if places != list(range(len(inserted))):
        raise BadPrompt(
            "The chat template does not write tool calls, so the text before them has no place.",
            hint="Leave the calls out of the messages, or use another chat template.",
        )
    return text


def for_declaration(tools: Sequence[Tool]) -> list[Tool]:
    """Return declared tools with every enum in the text: Google's templates write enums of strings only."""
    return [{**tool, "function": _with_enums(tool["function"])} for tool in tools]


def _with_enums(node: Any) -> Any:
    if isinstance(node, list):
        return [_with_enums(each) for each in node]
    if not isinstance(node, dict):
        return node
    node = {key: _with_enums(value) for key, value in node.items()}
    if isinstance(node.get("enum"), list) and node.get("type") in ("integer", "number", "boolean"):
        allowed = f"One of {', '.join(json.dumps(value) for value in node['enum'])}."
        described = node.get("description", "")
        if allowed not in described:
            node["description"] = f"{described} {allowed}".lstrip()
    return node


def _without_null(message: Message) -> Message:
    """Return a message with marks for the nulls of its calls and results: some templates write ``None``."""
    marked = dict(message)
    for key in ("tool_calls", "tool_responses"):
        if key in message:
            marked[key] = _null_marked(message[key])
    return marked


def _null_marked(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _null_marked(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_null_marked(item) for item in value]
    return _NULL if value is None else value


def _marked(messages: list[Message], inserted: list[str]) -> list[Message]:
    """Return messages with at most one text each, the last one; texts before calls are put into `inserted`.

    Neighbouring messages of the model are joined where they are one turn: a text and the calls after it, the
    results of calls and the text after them.
    """
    marked: list[Message] = []
    for message in messages:
        before = marked[-1] if marked and marked[-1]["role"] == message["role"] == "assistant" else {}
        if before and not before.get("tool_calls"):
            marked.pop()
            message = {**before, **message, "content": _joined(before["content"], message["content"])}
        elif before.get("tool_responses") and not message.get("tool_calls") and not before["content"]:
            before["content"] = message["content"]
            continue
        message = dict(message)
        if message.get("tool_calls") and message["content"]:
            first, *rest = message["tool_calls"]
            mark = f"{_OPEN}{len(inserted)}{_CLOSE}"
            function = {**first["function"], "name": f"{mark}{first['function']['name']}"}
            inserted.append(_as_text(message["content"]))
            message |= {"content": "", "tool_calls": [{**first, "function": function}, *rest]}
        marked.append(message)
    return marked


def _joined(first: str | list[Message], second: str | list[Message]) -> str | list[Message]:
    if isinstance(first, str) and isinstance(second, str):
        return f"{first}\n{second}" if first and second else first or second
    parts = ([{"type": "text", "text": each}] if isinstance(each, str) else each for each in (first, second))
    return [part for each in parts for part in each]


def _as_text(content: str | list[Message]) -> str:
    """Return content as templates write it: a placeholder per medium."""
    parts = [{"type": "text", "text": content}] if isinstance(content, str) else content
    return "".join(part["text"] if part["type"] == "text" else f"<|{part['type']}|>" for part in parts)

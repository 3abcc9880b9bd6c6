"""Read prompts and messages of several APIs into one form of a conversation.

A message is ``{"role": …, "content": …}``. Content is a string, or a list of parts where there are media:
``{"type": "image", "image": <PIL image>}``, ``{"type": "video", "video": <Video>}``,
``{"type": "audio", "audio": <Audio>}`` and ``{"type": "text", "text": …}``. The model's messages may have
``reasoning``, ``tool_calls`` and ``tool_responses`` besides (`gemma_lab.models.chat.tool_history`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from enum import Enum
from typing import TYPE_CHECKING, Any

from ...checks import type_name
from ...errors import BadPrompt
from .media_arguments import KINDS, iterate_media, media_list, part_kind, part_source
from .media_parts import Opening, opened, unopened
from .plain_json import as_mapping, check_encodable, plain, refuse_control, short, spaced, without_control
from .tool_history import (
    Caller,
    Result,
    one_call,
    read_calls,
    read_responses,
    read_result,
    tool_content,
    with_results,
)
from .types import Message, Previous

if TYPE_CHECKING:
    from .tools import Call

_ROLES = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "assistant": "assistant",
    "model": "assistant",
    "tool": "tool",
    "function": "tool",
}
_REASONING = ("reasoning", "reasoning_content", "thinking")
_TEXT_PARTS = ("text", "input_text", "output_text", "refusal")
#: Keys of a message that `_Reader` reads; others are kept for templates that use them.
_READ = {"role", "content", "tool_calls", "tool_responses", "function_call", "tool_call_id", "call_id"}
_READ |= {"refusal", "images", *_REASONING}
#: Keys of other APIs that say nothing to the model.
_IGNORED = {"id", "object", "type", "annotations", "model", "usage", "stop_reason", "stop_sequence", "status"}
_EXAMPLE = 'For example [{"role": "user", "content": "Hello"}].'
_PARTS = (
    'Parts are {"type": "text", "text": …}, {"type": "image", "image": …}, '
    '{"type": "video", "video": …, "fps": …} and {"type": "audio", "audio": …, "rate": …}.'
)


def conversation(
    prompt: Any,
    *,
    images: Any = None,
    video: Any = None,
    audio: Any = None,
    system: str | None = None,
    previous: Previous | None = None,
    results: Any = None,
    frames: int | None = None,
    check: Callable[[str, Any, dict[str, Any]], None] | None = None,
) -> list[Message]:
    """Return the messages of a prompt, checked, with every medium opened.

    All messages are read, and all media checked, before the first medium is decoded.

    Parameters
    ----------
    prompt
        The user's text, or messages that end with a user's or a tool's: in the format of transformers, OpenAI
        or Anthropic, as mappings, dataclasses or pydantic models.
    images
        Images for the last user message; they are placed before its text.
    video, audio
        A video and a sound for it, or lists of them; they are placed between the images and the text.
    system
        The system prompt, for a conversation without one; ``""`` is none.
    previous
        A reply to continue from.
    results
        Results of its calls (`gemma_lab.models.chat.tools.with_results`); there is no prompt then.
    frames
        How many frames are taken of a video that is opened here; default as `gemma_lab.load_video`.
    check
        Called with the kind of each medium, its source and the keywords of its loader, as soon as the source
        is known and before the next one is taken: what it raises ends the reading.

    Returns
    -------
    list of dict
        New messages; nothing that was passed is changed.

    Raises
    ------
    BadPrompt
        If the messages are not in the chat format, or calls and results cannot be matched.
    BadMedia
        If a medium cannot be read.
    """
    opening = Opening(frames, check)
    if previous is not None and not isinstance(getattr(previous, "messages", None), list):
        raise BadPrompt(
            f"previous is {type_name(previous)}, not a reply.",
            hint="Pass what lab.chat returned; pass earlier messages in the list of messages.",
        )
    messages = [dict(message) for message in previous.messages] if previous is not None else []
    if results is not None:
        messages = with_results(previous, results, prompt)
    else:
        _Reader(messages, opening).read(prompt)
    if system is not None and _text(system, "the system prompt").strip():
        if messages[0]["role"] == "system":
            raise BadPrompt(
                "The conversation already has a system prompt, and another one was passed.",
                hint="Leave `system` out, or start a new conversation (without `previous`).",
            )
        messages.insert(0, {"role": "system", "content": system})
    parts = [
        {"type": kind, kind: unopened(kind, source, {}, opening)}
        for kind, value in zip(KINDS, (images, video, audio), strict=True)
        for source in iterate_media(kind, value)
    ]
    return [opened(message) for message in _with_media(messages, parts)]


def answered(messages: list[Message], text: str, thinking: str, calls: Iterable[Call] = ()) -> list[Message]:
    """Return the conversation with the model's answer; its thoughts and calls are kept beside it.

    The chat templates write one text per message: text behind a call is part of the text before the calls.
    A control token that the model spelt in ordinary characters, because a tool's result told it to, say, gets
    a space inside: the next prompt would hold it as a control token.
    """
    answer: Message = {"role": "assistant", "content": without_control(text)}
    if readable := [spaced(call.message) for call in calls if not call.problem]:
        answer["tool_calls"] = readable
    if thinking:
        answer["reasoning"] = without_control(thinking)
    return [*messages, answer]


def _parts(message: Message) -> list[Message]:
    content = message["content"]
    return [{"type": "text", "text": content}] if isinstance(content, str) else content


class _Reader:
    """Append the messages of a prompt to a conversation, and assign tool results to the calls before them."""

    def __init__(self, messages: list[Message], opening: Opening) -> None:
        self._messages, self._opening = messages, opening
        self._caller: Caller | None = None
        if messages and messages[-1].get("tool_calls") and not messages[-1].get("tool_responses"):
            self._caller = Caller(messages[-1], "The reply before", [None] * len(messages[-1]["tool_calls"]))

    def read(self, prompt: Any) -> None:
        if isinstance(prompt, str):
            self._messages.append({"role": "user", "content": _text(prompt, "the prompt")})
            return
        prompt = getattr(prompt, "messages", prompt)
        if not isinstance(prompt, list | tuple):
            raise BadPrompt(
                f"A prompt is a string or a list of messages, not {type_name(prompt)}.", hint=_EXAMPLE
            )
        if not prompt:
            raise BadPrompt("The list of messages is empty.", hint=_EXAMPLE)
        for index, message in enumerate(prompt):
            self._read_message(message, f"Message {index}")
        self._close()
        last = self._messages[-1] if self._messages else {"role": "system"}
        if last["role"] != "user" and not last.get("tool_responses"):
            raise BadPrompt(
                f"Message {len(prompt) - 1}, the last one, is of the {last['role']}: nothing to answer.",
                hint="End with a user message.",
            )

    def _close(self) -> None:
        if self._caller is not None:
            self._caller.resolve()
        self._caller = None

    def _read_message(self, message: Any, where: str) -> None:
        fields = as_mapping(message)
        if fields is None or fields.get("role") is None:
            raise BadPrompt(f"{where} has no role: {short(message)}.", hint=_EXAMPLE)
        fields = {key: value for key, value in fields.items() if value is not None}
        role = fields["role"].value if isinstance(fields["role"], Enum) else fields["role"]
        if not isinstance(role, str) or role not in _ROLES:
            raise BadPrompt(f"{where} has the role {short(role)}.", hint=f"Roles are {', '.join(_ROLES)}.")
        for key in ("parts", "audio"):
            if fields.get(key):
                raise BadPrompt(
                    f"{where} has {key}, which is not read.", hint=f"Put it into content. {_PARTS}"
                )
        if _ROLES[role] == "tool":
            self._read_results(fields, where)
        elif _ROLES[role] == "assistant":
            self._read_assistant(fields, where)
        else:
            self._read_plain(fields, _ROLES[role], where)

    def _read_results(self, fields: Message, where: str) -> None:
        if "tool_responses" in fields:
            for result in read_responses(fields["tool_responses"], where):
                self._add_result(result)
        else:
            self._add_result(read_result(fields, where))

    def _add_result(self, result: Result) -> None:
        if self._caller is None:
            raise BadPrompt(
                f"{result.where} is a tool's result, and no message with calls comes right before it.",
                hint='The message before needs "tool_calls": [{"type": "function", "function": {…}}].',
            )
        self._caller.results.append(result)

    def _read_plain(self, fields: Message, role: str, where: str) -> None:
        """Read a user's or a system message; a user's may begin with results, as Anthropic's do."""
        content = fields.get("content")
        parts = self._content(content, where, media_list("image", fields.get("images")))
        results = [part for part in parts if part["type"] == "tool_result"]
        if parts[: len(results)] != results:
            raise BadPrompt(f"{where} has text or media before a tool_result.", hint="Put the results first.")
        for part in results:
            if role != "user":
                raise BadPrompt(
                    f"{where} is the {role}'s and holds a tool_result.", hint="Users send results."
                )
            self._add_result(part["result"])
        if results and len(parts) == len(results):
            return
        self._close()
        joined = _joined(parts[len(results) :])
        if role == "system":
            if self._messages:
                raise BadPrompt(f"{where} is a system prompt; only the first message can be.", hint=_EXAMPLE)
            if isinstance(joined, str) and not joined.strip():
                return  # an empty system prompt is none
        self._messages.append({**_others(fields, where), "role": role, "content": joined})

    def _read_assistant(self, fields: Message, where: str) -> None:
        self._close()
        content = fields.get("content", fields.get("refusal"))
        if content is None and {"tool_calls", "tool_responses", "function_call"} & set(fields):
            content = ""
        parts = self._content(content, where, media_list("image", fields.get("images")))
        calls, ids = read_calls(fields.get("tool_calls") or [], where)
        if "function_call" in fields:  # OpenAI's form before there were several calls
            function = as_mapping(fields["function_call"]) or {}
            calls.append(one_call(function.get("name"), function.get("arguments"), f"The call of {where}"))
            ids.append(None)
        message: Message = {**_others(fields, where), "role": "assistant"}
        thoughts = [fields[key] for key in _REASONING if fields.get(key)][:1]
        spoken: list[Message] = []
        others = len(calls)  # calls in tool_calls, not in the content
        for part in parts:
            if part["type"] == "tool_use":
                calls.append(part["call"])
                ids.append(part["id"])
            elif part["type"] == "thinking" and not spoken and not calls:
                thoughts.append(part["thinking"])
            elif part["type"] in ("thinking", "tool_result") or len(calls) > others:
                raise BadPrompt(
                    f"{where} has a part of type {part['type']} after text or calls.",
                    hint="The chat format has thoughts, text, calls; results follow in the next message.",
                )
            else:
                spoken.append(part)
        message["content"] = _joined(spoken)
        if thoughts:
            message["reasoning"] = "\n".join(_text(each, f"the reasoning of {where}") for each in thoughts)
            refuse_control(message["reasoning"], f"The reasoning of {where}")
        self._messages.append(message)
        if calls:
            message["tool_calls"] = calls
            self._caller = Caller(message, where, ids)
        for result in read_responses(fields.get("tool_responses") or [], where):
            self._add_result(result)

    def _content(self, content: Any, where: str, images: list[Any]) -> list[Message]:
        """Return the parts of a message: text, opened media, and Anthropic's calls, results and thoughts."""
        parts: list[Message] = [
            {"type": "image", "image": unopened("image", image, {}, self._opening)} for image in images
        ]
        if isinstance(content, str):
            return [*parts, {"type": "text", "text": _text(content, where)}]
        if not isinstance(content, list | tuple):
            raise BadPrompt(
                f"The content of {where} is {short(content)}, not a string or a list of parts.", hint=_EXAMPLE
            )
        return [*parts, *(self._part(part, f"Part {index} of {where}") for index, part in enumerate(content))]

    def _part(self, part: Any, where: str) -> Message:
        fields = as_mapping(part) or {}
        kind = fields.get("type")
        if kind in _TEXT_PARTS:
            return {
                "type": "text",
                "text": _text(fields.get("refusal" if kind == "refusal" else "text"), where),
            }
        if medium := part_kind(fields):
            source = part_source(fields, medium, where)
            return {"type": medium, medium: unopened(medium, source, fields, self._opening)}
        if kind == "thinking":
            return {"type": kind, "thinking": _text(fields.get("thinking"), where)}
        if kind == "tool_use":
            call = one_call(fields.get("name"), fields.get("input"), where)
            return {"type": kind, "call": call, "id": None if fields.get("id") is None else str(fields["id"])}
        if kind == "tool_result":
            response = tool_content(fields.get("content"), where)
            if fields.get("is_error"):
                response = {"error": response}
            call_id = fields.get("tool_use_id")
            return {
                "type": kind,
                "result": Result(response, where, None if call_id is None else str(call_id)),
            }
        raise BadPrompt(f"{where} is {short(part)}.", hint=_PARTS)


def _with_media(messages: list[Message], parts: list[Message]) -> list[Message]:
    """Put media before the text of the last user message."""
    if not parts:
        return messages
    last = max((index for index, message in enumerate(messages) if message["role"] == "user"), default=None)
    if last is None:
        raise BadPrompt("There are media but no user message to put them in.", hint=_EXAMPLE)
    messages[last] = {**messages[last], "content": [*parts, *_parts(messages[last])]}
    return messages


def _joined(parts: list[Message]) -> str | list[Message]:
    """Return text alone as a string: templates expect one where there are no media."""
    if all(part["type"] == "text" for part in parts):
        return "".join(part["text"] for part in parts)
    return parts


def _others(fields: Message, where: str) -> Message:
    """Return the other keys of a message, which a template may use, as plain JSON."""
    return {
        key: plain(value, f"{key} of {where}") for key, value in fields.items() if key not in _READ | _IGNORED
    }


def _text(text: Any, where: str) -> str:
    if not isinstance(text, str):
        raise BadPrompt(f"The text of {where} is {short(text)}, not a string.", hint=_EXAMPLE)
    check_encodable(text, f"The text of {where}")
    return str.__str__(text)

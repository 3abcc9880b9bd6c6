"""Read the answers of servers: whole ones and the pieces of streams, in the dialects of all of them.

What a server sends is not trusted: every value is checked for its type, texts are kept as text, and what
cannot be read is an error or a call with a `problem`, never a guess.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from ...errors import LabError, ServerError
from ..chat.tool_call_parser import write_call
from ..chat.tool_history import one_call
from ..chat.tools import Call, calls
from ..chat.types import Tool
from .http import error_message, one_line
from .reply import ScoredText

#: Names under which servers send the thoughts: DeepSeek and most others, vLLM, Ollama's own.
_REASONING = ("reasoning_content", "reasoning", "thinking")
_FINISH = {
    "stop": "stop", "tool_calls": "stop", "function_call": "stop", "eos": "stop", "eos_token": "stop",
    "end_turn": "stop", "length": "length", "max_tokens": "length",
}  # fmt: skip
#: Thoughts that a server left in the text, in Gemma 4's form or the common one.
_THOUGHT = re.compile(r"\A\s*(?:<\|channel>thought\n(.*?)<channel\|>|<think>(.*?)</think>)\s*", re.DOTALL)
_CALL = "<|tool_call>"
#: Most calls of one answer, and most token ids that are kept of one list.
_MAX_CALLS, _MAX_IDS = 1024, 10_000_000


@dataclass
class Answer:
    """An answer as far as it was read.

    Attributes
    ----------
    text, thinking
        As the server sent them.
    calls
        Calls by the server's index: id, name, and arguments as text or as an object.
    finish
        Why it ended, in the server's word; None if it did not say.
    usage
        Numbers of tokens, by OpenAI's names.
    scored
        Tokens with log-probabilities; None if there were none.
    routed_experts
        Expert ids, not decoded.
    prompt_ids, new_ids
        Token ids.
    """

    text: str = ""
    thinking: str = ""
    calls: dict[int, dict[str, Any]] = field(default_factory=dict)
    finish: str | None = None
    usage: dict[str, int] = field(default_factory=dict)
    scored: list[ScoredText] | None = None
    routed_experts: Any = None
    prompt_ids: list[int] | None = None
    new_ids: list[int] | None = None

    def add(self, event: Any, base: str) -> list[tuple[Literal["text", "thought"], str]]:
        """Read a whole response or a chunk of a stream, and return the text that it adds.

        Parameters
        ----------
        event
            Decoded JSON.
        base
            The server, for errors.

        Raises
        ------
        ServerError
            If it is an error, or not in the form of the protocol.
        """
        if not isinstance(event, Mapping):
            raise _malformed(base, "it is no JSON object", event)
        if event.get("error"):
            raise ServerError(
                f"{base} reports an error: {error_message(event)}.", hint="The server's log may say more."
            )
        self._read_usage(event.get("usage"))
        self.prompt_ids = _ids(event.get("prompt_token_ids")) or self.prompt_ids
        self._read_experts(event)
        choices = event.get("choices")
        if choices in (None, []):
            return []
        if not isinstance(choices, list) or not isinstance(choices[0], Mapping):
            raise _malformed(base, "its choices are no list of objects", choices)
        choice = choices[0]
        if choice.get("index") not in (None, 0):
            return []
        if isinstance(choice.get("finish_reason"), str):
            self.finish = choice["finish_reason"]
        self._read_experts(choice)
        new_ids = _ids(choice.get("token_ids"))
        if new_ids is not None:
            self.new_ids = (self.new_ids or []) + new_ids
        self._read_logprobs(choice.get("logprobs"))
        message = choice.get("message", choice.get("delta"))
        if message is None:
            message = {"content": choice.get("text")}
        if not isinstance(message, Mapping):
            raise _malformed(base, "its message is no object", message)
        return self._read_message(message, base)

    def _read_message(
        self, message: Mapping[str, Any], base: str
    ) -> list[tuple[Literal["text", "thought"], str]]:
        added: list[tuple[Literal["text", "thought"], str]] = []
        thought = next((message[key] for key in _REASONING if isinstance(message.get(key), str)), "")
        if thought:
            self.thinking += thought
            added.append(("thought", thought))
        text = _text(message.get("content"), base) or _text(message.get("refusal"), base)
        if text:
            self.text += text
            added.append(("text", text))
        listed = message.get("tool_calls") or []
        if isinstance(message.get("function_call"), Mapping):
            listed = [{"index": 0, "function": message["function_call"]}]
        if not isinstance(listed, list):
            raise _malformed(base, "its tool_calls are no list", listed)
        for each in listed:
            self._read_call(each, base)
        return added

    def _read_call(self, value: Any, base: str) -> None:
        """Read a call or a part of one; some servers number the calls, some give all the number 0."""
        function = value.get("function") if isinstance(value, Mapping) else None
        if not isinstance(function, Mapping):
            raise _malformed(base, "a tool call has no function", value)
        index, call_id, name = value.get("index"), value.get("id"), function.get("name")
        name = name if isinstance(name, str) else ""
        last = max(self.calls, default=-1)
        if isinstance(index, bool) or not isinstance(index, int) or index < 0:
            index = last + 1 if name or last < 0 else last
        known = self.calls.get(index)
        if known is not None and name and known["name"] and call_id not in (None, "", known["id"]):
            index, known = last + 1, None  # another call under the number of one before
        if known is None:
            if len(self.calls) >= _MAX_CALLS:
                raise _malformed(base, f"it makes more than {_MAX_CALLS} calls", name)
            known = self.calls[index] = {"id": call_id, "name": "", "arguments": ""}
        if name and name != known["name"]:
            known["name"] += name
        arguments = function.get("arguments")
        if isinstance(arguments, str) and isinstance(known["arguments"], str):
            known["arguments"] += arguments
        elif arguments is not None:
            known["arguments"] = arguments

    def _read_usage(self, usage: Any) -> None:
        if isinstance(usage, Mapping):
            for name in ("prompt_tokens", "completion_tokens"):
                value = usage.get(name)
                if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**40:
                    self.usage[name] = value

    def _read_experts(self, holder: Mapping[str, Any]) -> None:
        """Take expert ids from a choice (vLLM), ``sgl_ext`` (SGLang) or ``nvext`` (Dynamo), as they are."""
        for found in (holder, holder.get("sgl_ext"), holder.get("nvext")):
            if isinstance(found, Mapping):
                inner = found.get("engine_data")
                for place in (found, inner if isinstance(inner, Mapping) else {}):
                    payload = place.get("routed_experts")
                    if payload and (
                        isinstance(payload, Mapping) or not isinstance(self.routed_experts, Mapping)
                    ):
                        self.routed_experts = payload

    def _read_logprobs(self, logprobs: Any) -> None:
        if not isinstance(logprobs, Mapping):
            return
        content = logprobs.get("content")
        if isinstance(content, list):
            scored = [_scored(each) for each in content]
        elif isinstance(logprobs.get("tokens"), list) and isinstance(logprobs.get("token_logprobs"), list):
            pairs = zip(logprobs["tokens"], logprobs["token_logprobs"], strict=False)
            scored = [_scored({"token": token, "logprob": number}) for token, number in pairs]
        else:
            return
        if None in scored:
            return  # numbers that are none: as if the server had sent no log-probabilities
        self.scored = (self.scored or []) + [each for each in scored if each is not None]

    @property
    def finish_reason(self) -> Literal["stop", "length", "stopped"]:
        """Why the answer ended, in this package's words."""
        if self.finish is None:
            return "stop"
        return _FINISH.get(self.finish, "stopped")  # type: ignore[return-value]

    def split_thought(self) -> None:
        """Move thoughts that the server left at the beginning of the text to `thinking`."""
        found = _THOUGHT.match(self.text)
        if found and not self.thinking:
            self.thinking, self.text = found[1] or found[2] or "", self.text[found.end() :]

    def read_calls(self, tools: tuple[Tool, ...]) -> tuple[Call, ...]:
        """Return the calls; those that the server left in the text in Gemma 4's form are taken out of it."""
        made = tuple(_call(self.calls[index]) for index in sorted(self.calls))
        if not made and tools and _CALL in self.text:
            made = calls(self.text, tools)
            self.text = self.text[: self.text.index(_CALL)]
        return made

    def check_not_empty(self, base: str) -> None:
        """Raise `ServerError` for an answer with status 200 that says nothing, though tokens were generated.

        A model may end its turn at once: one or two tokens, none of them text, are an empty answer.
        """
        if self.text or self.thinking or self.calls:
            return
        count, finish = self.usage.get("completion_tokens"), self.finish
        if count is not None and count <= 2 and self.finish_reason == "stop" and finish is not None and count:
            return
        told = "no number of tokens" if count is None else f"{count:,} tokens"
        hints = {
            "length": "All tokens may have been hidden thoughts: raise max_new_tokens, or thinking=False.",
            "stopped": "The server withheld or broke off the answer; its log may say more.",
        }
        raise ServerError(
            f"{base} sent an empty answer with status 200: finish_reason {one_line(finish, 40)!r}, {told}.",
            hint=hints.get(
                self.finish_reason, "Check the server's chat template and its parsers of thoughts and calls."
            ),
            status=200,
            code="empty_answer",
        )


def _text(content: Any, base: str) -> str:
    """Return content as text: a string, or a list of parts of text."""
    if content is None:
        return ""
    if isinstance(content, str):
        return content
    if isinstance(content, list) and all(isinstance(part, Mapping) for part in content):
        return "".join(part["text"] for part in content if isinstance(part.get("text"), str))
    raise _malformed(base, "its content is no text", content)


def _call(raw: dict[str, Any]) -> Call:
    """Return a call, checked; one that is none has a problem."""
    name, arguments = raw["name"], raw["arguments"]
    shown = arguments if isinstance(arguments, str) else json.dumps(arguments, default=str)
    written = f"{name}({shown})"[:100_000]
    try:
        function = one_call(name, arguments, "The call")["function"]
    except LabError as error:
        return Call("", text=written, problem=one_line(error.what))
    return Call(
        function["name"], function["arguments"], text=write_call(function["name"], function["arguments"])
    )


def _scored(value: Any) -> ScoredText | None:
    """Return a token with its log-probability; None if it has none."""
    if not isinstance(value, Mapping):
        return None
    token, number = value.get("token"), _logprob(value.get("logprob"))
    if not isinstance(token, str) or number is None:
        return None
    listed = value.get("top_logprobs")
    others = [
        (each["token"], other)
        for each in (listed if isinstance(listed, list) else [])
        if isinstance(each, Mapping)
        and isinstance(each.get("token"), str)
        and (other := _logprob(each.get("logprob"))) is not None
    ]
    return ScoredText(token, number, tuple(others))


def _logprob(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float) or math.isnan(value) or value > 1e-3:
        return None
    return float(value)


def _ids(value: Any) -> list[int] | None:
    is_list = isinstance(value, list) and len(value) <= _MAX_IDS
    return list(value) if is_list and all(type(each) is int and 0 <= each < 2**31 for each in value) else None


def _malformed(base: str, what: str, value: Any) -> ServerError:
    return ServerError(
        f"The answer of {base} is not in the form of OpenAI's protocol: {what}: {one_line(repr(value), 80)}.",
        hint="Is this the address of an OpenAI-compatible server?",
        status=200,
        code="malformed_answer",
    )

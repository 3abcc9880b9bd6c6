"""Requests as the bodies of OpenAI's protocol, for the dialect of each software."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ...errors import BadMedia
from .media_urls import audio_part, image_part, video_part
from .software import LOCAL, TEMPLATE_KEYWORDS

if TYPE_CHECKING:
    from ..chat.request import Request
    from .software import ServedModel


@dataclass
class Body:
    """The body of a request.

    Attributes
    ----------
    fields
        Its JSON.
    optional
        Fields that are left out if the server refuses them: they were not asked for by the user.
    """

    fields: dict[str, Any]
    optional: set[str] = field(default_factory=set)

    def without(self, message: str) -> Body | None:
        """Return the body without the fields that a refusal names, or with newer names; None if none."""
        fields = dict(self.fields)
        if "max_completion_tokens" in message and "max_tokens" in fields:  # newer models of OpenAI's
            fields["max_completion_tokens"] = fields.pop("max_tokens")
            return Body(fields, self.optional)
        named = {name for name in self.optional if name in fields and name in message}
        for name in named:
            del fields[name]
        return Body(fields, self.optional - named) if named else None


def chat_body(
    request: Request,
    model: ServedModel,
    *,
    given: Sequence[str],
    stream: bool,
    experts: bool = False,
    extra: Mapping[str, Any],
) -> Body:
    """Return the body of ``/chat/completions``.

    Parameters
    ----------
    request
        What is asked.
    model
        Whom.
    given
        Options that the user passed; others are sent only to servers known to take them.
    stream
        Whether the answer is streamed.
    experts
        Whether expert ids and token ids are asked for.
    extra
        Fields that are added, or replaced.
    """
    fields: dict[str, Any] = {
        "model": model.name,
        "messages": [message for each in request.messages for message in _messages(each, model)],
    }
    if request.tools:
        fields["tools"] = [_declaration(tool) for tool in request.tools]
        if request.tool_choice is not None:
            choice = request.tool_choice
            named = choice not in ("auto", "none", "required")
            fields["tool_choice"] = {"type": "function", "function": {"name": choice}} if named else choice
    if request.schema is not None:
        fields["response_format"] = {
            "type": "json_schema",
            "json_schema": {
                "name": _schema_name(request.schema.name),
                "schema": request.schema.schema,
                "strict": True,
            },
        }
    if model.software in TEMPLATE_KEYWORDS:
        fields["chat_template_kwargs"] = {"enable_thinking": request.thinking}
    elif request.thinking:
        fields["reasoning_effort"] = "medium"
    if request.top_logprobs:
        fields |= {"logprobs": True, "top_logprobs": request.top_logprobs}
    return _shared(fields, request, model, given=given, stream=stream, experts=experts, extra=extra)


def text_body(
    request: Request, model: ServedModel, *, given: Sequence[str], stream: bool, extra: Mapping[str, Any]
) -> Body:
    """Return the body of ``/completions``, for a raw prompt; parameters as for `chat_body`."""
    if request.media:
        raise BadMedia("A raw prompt for a server takes no media.", hint="Use lab.chat(…).")
    prompt: Any = "".join(request.texts) if request.ids is None else list(request.ids)
    fields: dict[str, Any] = {"model": model.name, "prompt": prompt}
    if request.top_logprobs:
        fields["logprobs"] = request.top_logprobs
    return _shared(fields, request, model, given=given, stream=stream, experts=False, extra=extra)


def _shared(
    fields: dict[str, Any],
    request: Request,
    model: ServedModel,
    *,
    given: Sequence[str],
    stream: bool,
    experts: bool,
    extra: Mapping[str, Any],
) -> Body:
    local, optional = model.software in LOCAL, set[str]()
    fields["temperature"] = request.sampling.temperature
    if request.sampling.do_sample:
        fields["top_p"] = request.sampling.top_p
        if local or "top_k" in given or "sampling" in given:
            fields["top_k"] = (
                request.sampling.top_k or -1 if model.software == "vllm" else request.sampling.top_k
            )
        if request.seed is not None and (local or "seed" in given):
            fields["seed"] = request.seed
    optional |= {name for name in ("top_k", "seed") if name not in given and "sampling" not in given}
    fields["max_tokens"] = request.max_new_tokens
    if request.stop:
        fields["stop"] = list(request.stop)
    if stream:
        fields |= {"stream": True, "stream_options": {"include_usage": True}}
        optional.add("stream_options")
    if experts:
        fields |= {"return_routed_experts": True, "return_token_ids": True}
        optional.add("return_token_ids")
    return Body(fields | dict(extra), optional - set(extra))


def _messages(message: Mapping[str, Any], model: ServedModel) -> list[dict[str, Any]]:
    """Return a message in OpenAI's form: results of calls are messages of their own, matched by ids."""
    role, content = message["role"], message["content"]
    made: dict[str, Any] = {"role": role}
    if isinstance(content, str):
        made["content"] = content
    else:
        made["content"] = [_part(part, model) for part in content]
    calls = message.get("tool_calls") or []
    ids = [f"call_{index:09d}" for index in range(len(calls))]  # Mistral's servers want 9 characters or more
    if message.get("reasoning"):
        made["reasoning_content"] = message["reasoning"]
    if calls:
        made["content"] = made["content"] or None
        made["tool_calls"] = [
            {
                "id": each,
                "type": "function",
                "function": {
                    "name": call["function"]["name"],
                    "arguments": json.dumps(call["function"]["arguments"], ensure_ascii=False),
                },
            }
            for each, call in zip(ids, calls, strict=True)
        ]
    results = [
        {"role": "tool", "tool_call_id": each, "content": _result(response["response"])}
        for each, response in zip(ids, message.get("tool_responses") or [], strict=False)
    ]
    return [made, *results]


def _result(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _part(part: Mapping[str, Any], model: ServedModel) -> dict[str, Any]:
    kind = part["type"]
    if kind == "text":
        return {"type": "text", "text": part["text"]}
    if model.modalities is not None and kind not in model.modalities:
        raise BadMedia(
            f"{model.name} at this server takes no {kind}.",
            hint=f"It takes {', '.join(sorted(model.modalities))}, as the server says.",
        )
    if kind == "image":
        return image_part(part["image"])
    if kind == "audio":
        return audio_part(part["audio"])
    return video_part(part["video"], lossless=model.software == "gemma_lab")


def _declaration(tool: Mapping[str, Any]) -> dict[str, Any]:
    function = dict(tool["function"])
    function.setdefault("parameters", {"type": "object", "properties": {}})
    return {"type": "function", "function": function}


def _schema_name(name: str) -> str:
    """Return a name as OpenAI's API takes it: letters, digits, ``_`` and ``-``, at most 64."""
    kept = "".join(c if c.isascii() and (c.isalnum() or c in "_-") else "_" for c in name)
    return kept[:64] or "answer"

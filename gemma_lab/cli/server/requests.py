"""Requests of OpenAI's chat and text completions, checked field by field, as requests of a `gemma_lab.Lab`.

What cannot be done is refused, never left out: an unknown field, or one that asks for something else.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ...errors import BadSchema
from ...models.grammar.limits import check_schema_size
from .errors import ApiError, invalid
from .fields import Fields
from .messages import read_messages

if TYPE_CHECKING:
    from .limits import Limits

#: OpenAI's limits on alternatives per token, and on stop strings (4 there; vLLM has none).
MAX_TOP_LOGPROBS, MAX_STOPS, MAX_TOOLS = 20, 16, 128
#: Fields that concern OpenAI's own service, or accounting: they change no answer.
_WITHOUT_EFFECT = (
    "user", "metadata", "store", "service_tier", "safety_identifier", "prompt_cache_key", "verbosity",
    "request_id", "priority",
)  # fmt: skip
#: Fields that are refused unless they ask for nothing.
_UNSUPPORTED: dict[str, tuple[Any, ...]] = {
    "n": (1,), "best_of": (1,), "presence_penalty": (0,), "frequency_penalty": (0,), "logit_bias": ({},),
    "repetition_penalty": (1,), "min_p": (0,), "functions": ([],), "function_call": ("none",),
    "modalities": (["text"],), "audio": (), "prediction": (), "web_search_options": (), "echo": (False,),
    "suffix": ("",), "ignore_eos": (False,), "min_tokens": (0,),
}  # fmt: skip


@dataclass(frozen=True)
class CompletionRequest:
    """A checked request.

    Attributes
    ----------
    prompt
        Messages; or, for a text completion, text or token ids.
    options
        Options of `gemma_lab.Lab.request`.
    chat
        Whether it is a chat completion.
    stream, include_usage
        Whether the answer is streamed, and its last chunk tells the usage.
    logprobs
        Whether the answer has log-probabilities; `top_logprobs` of `options` is the number of alternatives.
    stop
        Stop strings; the answer ends before one.
    one_call
        Whether the answer ends after its first tool call.
    routed_experts
        Whether the answer tells the experts of each token.
    routed_experts_start
        The first token whose experts are told.
    return_token_ids
        Whether the answer has token ids.
    """

    prompt: Any = field(repr=False)
    options: Mapping[str, Any]
    chat: bool = True
    stream: bool = False
    include_usage: bool = False
    logprobs: bool = False
    stop: tuple[str, ...] = ()
    one_call: bool = False
    routed_experts: bool = False
    routed_experts_start: int = 0
    return_token_ids: bool = False


def chat_request(body: Any, *, served: str, limits: Limits) -> CompletionRequest:
    """Return the request of ``/v1/chat/completions``.

    Parameters
    ----------
    body
        Decoded JSON.
    served
        Name of the model.
    limits
        Of the server.

    Raises
    ------
    ApiError
        Status 400 with the field that is wrong; 404 for another model.
    """
    fields = Fields(body)
    _check_model(fields, served)
    options: dict[str, Any] = {"thinking": _thinking(fields)}
    tools, choice, one_call = _tools(fields)
    if tools:
        options["tools"] = tools
        if choice is not None:
            options["tool_choice"] = choice
    schema = _schema(fields)
    if schema is not None:
        if tools and choice not in (None, "none"):
            raise fields.fault("response_format", "cannot be combined with tools that may be called.")
        if tools and choice is None:
            raise fields.fault("response_format", 'needs tool_choice "none" where tools are declared.')
        options["schema"] = schema
    logprobs = fields.flag("logprobs")
    top = fields.integer("top_logprobs", minimum=0, maximum=MAX_TOP_LOGPROBS)
    if top and not logprobs:
        raise fields.fault("top_logprobs", "needs logprobs: true.")
    return CompletionRequest(
        prompt=read_messages(fields),
        one_call=one_call,
        logprobs=logprobs,
        **_shared(fields, options | {"top_logprobs": top or 0}, limits),
    )


def text_request(body: Any, *, served: str, limits: Limits) -> CompletionRequest:
    """Return the request of ``/v1/completions``: text or token ids, continued without the chat template.

    Parameters and errors are those of `chat_request`.
    """
    fields = Fields(body)
    _check_model(fields, served)
    prompt = fields.any("prompt")
    if isinstance(prompt, list) and len(prompt) == 1 and isinstance(prompt[0], str | list):
        (prompt,) = prompt
    is_ids = (
        isinstance(prompt, list)
        and prompt
        and all(type(each) is int and 0 <= each < 2**31 for each in prompt)
    )
    if not is_ids and not (isinstance(prompt, str) and prompt):
        raise fields.fault("prompt", "must be one text or one list of token ids, and not empty.")
    top = fields.integer("logprobs", minimum=0, maximum=MAX_TOP_LOGPROBS)
    return CompletionRequest(
        prompt=prompt,
        chat=False,
        logprobs=top is not None,
        **_shared(fields, {"raw": True, "top_logprobs": top or 0}, limits),
    )


def _shared(fields: Fields, options: dict[str, Any], limits: Limits) -> dict[str, Any]:
    """Read the fields that both have, and refuse those that nobody reads."""
    for name, least, most in (("temperature", 0.0, 100.0), ("top_p", 1e-6, 1.0)):
        value = fields.number(name, minimum=least, maximum=most)
        if value is not None:
            options[name] = value
    if options.get("temperature"):
        options["temperature"] = max(options["temperature"], 1e-6)
    top_k = fields.integer("top_k", minimum=-1, maximum=2**31)
    if top_k is not None:
        options["top_k"] = max(top_k, 0)  # vLLM writes "all" as -1
    seed = fields.integer("seed", minimum=-(2**63), maximum=2**63 - 1)
    if seed is not None:
        options["seed"] = seed % 2**63
    most_new = limits.max_new_tokens
    asked = fields.integer("max_completion_tokens", minimum=1, maximum=most_new)
    older = fields.integer("max_tokens", minimum=1, maximum=most_new)
    options["max_new_tokens"] = next(each for each in (asked, older, most_new) if each is not None)
    stop = _stop(fields)
    if stop:
        options["stop"] = stop
    stream = fields.flag("stream")
    streaming = fields.object("stream_options")
    include_usage = False
    if streaming is not None:
        if not stream:
            raise fields.fault("stream_options", "needs stream: true.")
        include_usage = streaming.flag("include_usage")
        streaming.skip(("include_obfuscation", "continuous_usage_stats"))
        streaming.finish()
    start = fields.integer("routed_experts_prompt_start", minimum=0, maximum=2**31)
    wanted = fields.flag("return_routed_experts", default=start is not None)
    ids = fields.flag("return_token_ids")
    fields.skip(_WITHOUT_EFFECT)
    fields.unsupported(_UNSUPPORTED)
    fields.finish()
    return {
        "options": options, "stream": stream, "include_usage": include_usage, "stop": stop,
        "routed_experts": wanted, "routed_experts_start": start or 0, "return_token_ids": ids,
    }  # fmt: skip


def _check_model(fields: Fields, served: str) -> None:
    name = fields.text("model")
    if name != served:
        raise ApiError(
            404,
            f"The model {name[:100]!r} is not served here; {served!r} is.",
            param="model",
            code="model_not_found",
        )


def _thinking(fields: Fields) -> bool:
    """Return whether the model is to think: OpenAI's ``reasoning_effort``, or the template's keyword."""
    effort = fields.text("reasoning_effort", "none")
    if effort not in ("none", "minimal", "low", "medium", "high", "xhigh", "max"):
        raise fields.fault("reasoning_effort", "must be none, minimal, low, medium or high.")
    thinking = effort not in ("none", "minimal")
    template = fields.object("chat_template_kwargs")
    if template is not None:
        thinking = template.flag("enable_thinking", default=thinking)
        template.finish()
    return thinking


def _stop(fields: Fields) -> tuple[str, ...]:
    value = fields.any("stop")
    listed = [value] if isinstance(value, str) else fields.list("stop", most=MAX_STOPS)
    if not all(isinstance(each, str) and 0 < len(each) <= 256 for each in listed):
        raise fields.fault("stop", "must be strings of 1 to 256 characters.")
    return tuple(listed)


def _schema(fields: Fields) -> dict[str, Any] | None:
    form = fields.object("response_format")
    if form is None:
        return None
    kind = form.text("type")
    if kind == "text":
        form.finish()
        return None
    if kind == "json_object":
        form.finish()
        return {"type": "object"}
    if kind != "json_schema":
        raise form.fault("type", "must be text, json_object or json_schema.")
    inner = form.object("json_schema")
    if inner is None:
        raise form.fault("json_schema", "must be an object with name and schema.")
    inner.skip(("name", "description", "strict"))
    schema = inner.any("schema")
    if not isinstance(schema, dict):
        raise inner.fault("schema", "must be a JSON Schema.")
    _check_size(schema, inner.path("schema"))
    inner.finish()
    form.finish()
    return schema


def _check_size(schema: Any, path: str) -> None:
    """Raise `ApiError` (400) for a schema that is too large for the grammar engine."""
    try:
        check_schema_size(schema, path)
    except BadSchema as error:
        raise invalid(error.what, path) from None


def _tools(fields: Fields) -> tuple[list[Any], str | None, bool]:
    """Return the declared tools, the choice as `Lab.request` takes it, and whether one call ends the answer.

    ``"auto"`` binds calls to their declarations only if one is ``strict``, as in OpenAI's API: a grammar does
    not take every keyword of a schema.
    """
    tools = fields.list("tools", most=MAX_TOOLS)
    strict = False
    for index, value in enumerate(tools):
        tool = Fields(value, f"tools[{index}]")
        if tool.text("type") != "function":
            raise tool.fault("type", 'must be "function".')
        function = tool.object("function")
        if function is None:
            raise tool.fault("function", "must be an object with a name.")
        function.text("name")
        _check_size(function.any("parameters"), function.path("parameters"))
        strict = strict or function.flag("strict")
    one_call = not fields.flag("parallel_tool_calls", default=True)
    choice = fields.any("tool_choice")
    if isinstance(choice, Mapping):
        named = Fields(choice, "tool_choice")
        function = named.object("function") if named.text("type") == "function" else None
        if function is None:
            raise fields.fault("tool_choice", 'must name a function: {"type": "function", "function": {…}}.')
        choice = function.text("name")
        if choice not in [tool["function"]["name"] for tool in tools]:
            raise invalid(f"tool_choice names {choice[:80]!r}, which is not declared.", "tool_choice")
    elif choice not in (None, "auto", "none", "required"):
        raise fields.fault("tool_choice", "must be auto, none, required or a function.")
    if choice == "required" and not tools:
        raise fields.fault("tool_choice", "needs tools.")
    if choice == "auto" and not strict:
        choice = None
    if choice is None and strict:
        choice = "auto"
    return tools, choice, one_call

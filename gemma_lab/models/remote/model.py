"""A model behind a server: requests with the options of a `gemma_lab.Lab`, answers whole and as streams."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from ...checks import short_repr
from ...errors import BadMedia, BadPrompt, ContextFull, LabError, NotTraced, ServerError
from ..chat.messages import answered, conversation
from ..chat.options import PROMPT_OPTIONS, RequestOptions, check_keywords
from ..chat.request import KINDS, Request, stop_strings, yes_or_no
from ..chat.request_builder import stops
from ..chat.sampling import Sampling
from ..chat.tools import declared
from .answers import Answer
from .bodies import Body, chat_body, text_body
from .http import Connection
from .reply import ServerReply
from .software import EVERY_MODALITY, ServedModel, served_model
from .stream import ServerStream

#: Frames of a video that a Gemma 4's processor takes.
_FRAMES = 32
#: Options that no protocol has.
_NOT_SERVED = ("max_soft_tokens",)
_MEDIA_WORDS = (
    "image",
    "audio",
    "video",
    "vision",
    "multimodal",
    "multi-modal",
    "mmproj",
    "modalit",
    "media",
)


class ServedLanguageModel:
    """A model behind a server.

    Parameters
    ----------
    connection
        To the server.
    served
        What the server says of the model.
    modalities
        What the model takes; by default what the server says, or all where it says nothing.
    extra
        Fields that are added to every request.

    Attributes
    ----------
    name : str
        The model's name at the server.
    served : ServedModel
        What the server says of it.
    modalities : frozenset of str
        Of ``"text"``, ``"image"``, ``"video"``, ``"audio"``.
    last_reply : ServerReply or None
        The last answer, the partial one of a stream that was left.
    """

    def __init__(
        self,
        connection: Connection,
        served: ServedModel,
        *,
        modalities: frozenset[str] | None = None,
        extra: Mapping[str, Any] | None = None,
    ) -> None:
        self.connection, self.served = connection, served
        self.name = served.name
        self.modalities = modalities or served.modalities or EVERY_MODALITY
        self.extra = dict(extra or {})
        self.last_reply: ServerReply | None = None

    @property
    def context(self) -> int:
        """Tokens of prompt and answer together; `NotTraced` if the server does not say."""
        if self.served.context is None:
            raise NotTraced(f"The server does not say how long the context of {self.name} is.", hint="")
        return self.served.context

    def request(self, prompt: Any = None, **options: Any) -> Request:
        """Return a request without sending it; the parameters are those of `chat`."""
        check_keywords("request", options, RequestOptions)
        return self._request(prompt, options)

    def ask(self, prompt: Any, options: Mapping[str, Any], *, experts: bool = False) -> ServerReply:
        """Send a request and return the answer.

        Parameters
        ----------
        prompt, options
            As for `gemma_lab.Lab.chat`.
        experts
            Ask for expert ids and token ids, too.
        """
        request = self._request(prompt, options)
        path, body = self.body_of(request, options, stream=False, experts=experts)
        began = time.perf_counter()
        answer = Answer()
        event = self.refitted(request, body, lambda fields: self.connection.post(path, fields))
        answer.add(event, self.connection.base)
        return self.reply_of(request, answer, seconds=time.perf_counter() - began)

    def open_stream(self, prompt: Any, options: Mapping[str, Any]) -> ServerStream:
        """Return the answer as a stream; nothing is sent before it is read."""
        return ServerStream(self, self._request(prompt, options), options)

    def _request(self, prompt: Any, options: Mapping[str, Any]) -> Request:
        """Return a request: messages with opened media, sampling and limits, checked like those of a lab."""
        options = {name: value for name, value in options.items() if value is not None}
        if unusable := [name for name in _NOT_SERVED if name in options]:
            raise LabError(f"A server takes no {unusable[0]}.", hint="It is set where the server is started.")
        if isinstance(prompt, Request):
            return _changed(prompt, options)
        raw = yes_or_no("raw", options.get("raw", False))
        fields: dict[str, Any] = {
            name: options[name]
            for name in ("thinking", "seed", "top_logprobs", "schema", "tool_choice", "max_new_tokens")
            if name in options
        }
        fields.setdefault("top_logprobs", 0)
        is_ids = raw and not isinstance(prompt, str)
        if is_ids:
            fields["ids"] = prompt
        else:
            fields["messages"] = self._messages(prompt, options)
            previous = options.get("previous")
            tools = options.get("tools")
            fields["tools"] = declared(tools) if tools is not None else getattr(previous, "tools", ())
        strings = [each for each in stops(options.get("stop")) if isinstance(each, str)]
        return Request(raw=raw, sampling=_sampling(options), stop=stop_strings(strings), **fields)

    def _messages(self, prompt: Any, options: Mapping[str, Any]) -> list[dict[str, Any]]:
        previous = options.get("previous")
        if previous is not None and not getattr(previous, "messages", None):
            raise BadPrompt(
                f"previous={short_repr(previous)} has no conversation to continue.",
                hint="Pass what lab.chat returned.",
            )
        return conversation(
            prompt,
            images=options.get("images", ()),
            video=options.get("video"),
            audio=options.get("audio"),
            system=options.get("system") or None,
            previous=previous,
            results=options.get("tool_results"),
            frames=_FRAMES,
            check=self._check_medium,
        )

    def _check_medium(self, kind: str, _: Any, __: Any) -> None:
        if kind not in self.modalities:
            raise BadMedia(
                f"{self.name} at {self.connection.base} takes no {kind}.",
                hint=f"It takes {', '.join(sorted(self.modalities))}; modalities=… says otherwise.",
            )

    def body_of(
        self, request: Request, options: Mapping[str, Any], *, stream: bool, experts: bool = False
    ) -> tuple[str, Body]:
        """Return the page and the body of a request."""
        given = [name for name, value in options.items() if value is not None]
        if request.raw:
            return "/completions", text_body(
                request, self.served, given=given, stream=stream, extra=self.extra
            )
        return "/chat/completions", chat_body(
            request, self.served, given=given, stream=stream, experts=experts, extra=self.extra
        )

    def refitted(self, request: Request, body: Body, send: Any) -> Any:
        """Send a body; if the server refuses a field that can be spared, send it without."""
        for _ in range(4):
            try:
                return send(body.fields)
            except ServerError as error:
                fitted = body.without(error.what) if error.status in (400, 422) else None
                if fitted is None:
                    raise self._explained(error, request) from None
                body = fitted
        return send(body.fields)

    def _explained(self, error: ServerError, request: Request) -> LabError:
        """Return a refusal as the error that a loaded model would raise, where the server says enough."""
        if error.status not in (400, 413, 422, 500, 501):
            return error
        said = error.what.lower()
        if error.code == "context_length_exceeded" or "context length" in said or "context size" in said:
            return ContextFull(error.what, hint="Shorten the prompt, or lower max_new_tokens.")
        if request.media and any(word in said for word in _MEDIA_WORDS):
            kinds = ", ".join(kind for kind in KINDS if request.of_kind(kind))
            return BadMedia(error.what, hint=f"The request holds {kinds}; does the served model take it?")
        return error

    def reply_of(
        self,
        request: Request,
        answer: Answer,
        *,
        seconds: float,
        first_s: float | None = None,
        stopped: bool = False,
    ) -> ServerReply:
        """Return the reply to a request; an empty one is an error unless it was stopped."""
        if not stopped:
            answer.check_not_empty(self.connection.base)
        answer.split_thought()
        tools = tuple(request.tools)
        calls = answer.read_calls(tools)
        messages = list(request.messages)
        reply = ServerReply(
            text=answer.text,
            thinking=answer.thinking,
            calls=calls,
            messages=[] if request.raw else answered(messages, answer.text, answer.thinking, calls),
            finish_reason="stopped" if stopped else answer.finish_reason,
            prompt_tokens=answer.usage.get("prompt_tokens"),
            new_tokens=answer.usage.get("completion_tokens"),
            sampling=request.sampling,
            seed=request.seed,
            model=self.name,
            seconds=seconds,
            first_s=first_s,
            tools=tools,
            request=request,
            scored=None if answer.scored is None else tuple(answer.scored),
            routed_experts=answer.routed_experts,
            prompt_ids=None if answer.prompt_ids is None else tuple(answer.prompt_ids),
            new_ids=None if answer.new_ids is None else tuple(answer.new_ids),
        )
        self.last_reply = reply
        return reply


def _sampling(options: Mapping[str, Any], base: Sampling | None = None) -> Sampling:
    made = Sampling.of(options["sampling"]) if "sampling" in options else base or Sampling()
    return made.but(**{name: options[name] for name in ("temperature", "top_p", "top_k") if name in options})


def _changed(request: Request, options: Mapping[str, Any]) -> Request:
    """Return a request with another sampling or other limits."""
    if fixed := [name for name in PROMPT_OPTIONS if name in options]:
        raise LabError(
            f"{fixed[0]} cannot be passed with a Request: it has its own.", hint="Make another one."
        )
    names = ("seed", "max_new_tokens", "top_logprobs", "schema", "tool_choice")
    changes = {name: options[name] for name in names if name in options}
    strings = [each for each in stops(options.get("stop")) if isinstance(each, str)]
    if strings:
        changes["stop"] = strings
    return request.with_options(**changes, sampling=_sampling(options, request.sampling))


def connected(
    url: str,
    model: str | None = None,
    *,
    token: str | None = None,
    timeout: float = 120.0,
) -> tuple[Connection, ServedModel]:
    """Return a connection to a server, and what it says of a model; see `gemma_lab.connect`."""
    connection = Connection(url, token=token, timeout=timeout)
    return connection, served_model(connection, model)

"""A request as a value: everything that decides what the model reads and how it answers."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from ...checks import members, short_repr, whole_number
from ...errors import BadPrompt, LabError
from ..grammar.schema import AnswerSchema, answer_schema
from ..media import Audio, Video, check_max_soft_tokens, load_audio, load_image, load_video
from .media_digests import digest
from .messages import conversation
from .plain_json import plain
from .sampling import Sampling
from .tools import declared

if TYPE_CHECKING:
    from .types import Message, Tool

#: Maximum of `top_logprobs`; trace files hold no more per position.
MAX_TOP_LOGPROBS = 4096
KINDS = ("image", "video", "audio")
_EXAMPLE = 'For example lab.request("What is 7 + 5?", max_new_tokens=8).'


@dataclass(frozen=True, eq=False)
class Request:
    """Everything that determines a run, as a value: messages, media, tools, options, sampling and limits.

    `Lab.request` returns one; `chat`, `stream`, `cost`, `trace`, `next_token` and `activations` accept it
    instead of a prompt. The same request gives the same tokens in each of them, and the same answer.

    Parameters
    ----------
    messages
        The conversation, checked and with every medium opened: what
        `gemma_lab.models.chat.messages.conversation` returns.
    ids
        Token ids to read unchanged, instead of messages.
    tools
        Declared functions (`gemma_lab.models.chat.tools.declared`).
    thinking
        Whether the model may think before it answers.
    raw
        Whether the text is read without the chat template.
    max_soft_tokens
        Soft tokens per picture and per video frame at most; None for the processor's own limit.
    sampling
        How tokens are drawn.
    seed
        Of the sampling. One is drawn where tokens are to be drawn and none is passed, so that the answer can
        be repeated; always None where nothing is drawn.
    max_new_tokens
        Maximum length of the answer; 0 reads the prompt only.
    top_logprobs
        How many of the likeliest tokens are kept per position, 0 to 4,096.
    stop
        Strings that end the answer.
    schema
        Binds the answer to JSON (`gemma_lab.models.grammar.schema.answer_schema`).
    tool_choice
        Binds tool calls to their declarations: ``"auto"``, ``"none"``, ``"required"`` or a tool's name. None
        leaves them free.

    Raises
    ------
    LabError
        If a value is of the wrong type or out of range.

    Notes
    -----
    Two requests are equal if all of this is, media by their digest.
    """

    messages: Sequence[Message] = field(default=(), repr=False)
    ids: Sequence[int] | None = field(default=None, repr=False)
    tools: Sequence[Tool] = field(default=(), repr=False)
    thinking: bool = False
    raw: bool = False
    max_soft_tokens: int | None = None
    sampling: Sampling = field(default_factory=Sampling)
    seed: int | None = None
    max_new_tokens: int = 512
    top_logprobs: int = 5
    stop: Sequence[str] = ()
    schema: AnswerSchema | None = None
    tool_choice: str | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.sampling, Sampling):
            raise LabError(f"sampling is {short_repr(self.sampling)}.", hint="Pass gl.Sampling(…).")
        values: dict[str, Any] = {
            "messages": _messages(self.messages),
            "ids": None if self.ids is None else token_ids(self.ids),
            "tools": tuple(self.tools),
            "thinking": yes_or_no("thinking", self.thinking),
            "raw": yes_or_no("raw", self.raw) or self.ids is not None,
            "max_soft_tokens": check_max_soft_tokens(self.max_soft_tokens),
            "max_new_tokens": whole_number("max_new_tokens", self.max_new_tokens, minimum=0),
            "top_logprobs": whole_number(
                "top_logprobs", self.top_logprobs, minimum=0, maximum=MAX_TOP_LOGPROBS
            ),
            "stop": stop_strings(self.stop),
            "schema": None if self.schema is None else answer_schema(self.schema),
            "tool_choice": choice_of_tools(self.tool_choice, self.tools, self.schema),
        }
        seed = None if self.seed is None else whole_number("seed", self.seed, minimum=0, maximum=2**63 - 1)
        draws = self.sampling.do_sample and values["max_new_tokens"] > 0
        if draws and seed is None:
            seed = secrets.randbelow(2**53)  # a float of JavaScript holds it exactly
        values["seed"] = seed if draws else None
        for name, value in values.items():
            object.__setattr__(self, name, value)

    @cached_property
    def parts(self) -> tuple[dict[str, Any], ...]:
        """The parts of all messages in order: texts and media."""
        found: list[dict[str, Any]] = []
        for message in self.messages:
            content = message["content"]
            found += [{"type": "text", "text": content}] if isinstance(content, str) else content
        return tuple(found)

    @cached_property
    def texts(self) -> tuple[str, ...]:
        """Every text of the messages, in order."""
        return tuple(part["text"] for part in self.parts if part["type"] == "text")

    @cached_property
    def media(self) -> tuple[tuple[str, Any], ...]:
        """Kind and medium of everything that is not text: images, then videos, then sounds, each in order."""
        return tuple((kind, part[kind]) for kind in KINDS for part in self.parts if part["type"] == kind)

    def of_kind(self, kind: str) -> tuple[Any, ...]:
        """Return the media of one kind, ``"image"``, ``"video"`` or ``"audio"``, in order."""
        return tuple(medium for each, medium in self.media if each == kind)

    @cached_property
    def _meta(self) -> dict[str, Any]:
        numbers = iter(range(len(self.media)))
        order = {kind: [next(numbers) for _ in self.of_kind(kind)] for kind in KINDS}
        left = {kind: iter(places) for kind, places in order.items()}
        meta: dict[str, Any] = {
            "messages": [_encoded(message, left) for message in self.messages],
            "ids": None if self.ids is None else list(self.ids),
            "media": [digest(kind, medium) for kind, medium in self.media],
            "tools": plain(list(self.tools), "A declared tool"),
            "thinking": self.thinking,
            "raw": self.raw,
            "max_soft_tokens": self.max_soft_tokens,
            "sampling": self.sampling.to_dict(),
            "seed": self.seed,
            "max_new_tokens": self.max_new_tokens,
            "top_logprobs": self.top_logprobs,
            "stop": list(self.stop),
            "schema": None if self.schema is None else self.schema.schema,
            "tool_choice": self.tool_choice,
        }
        return meta

    def to_meta(self) -> dict[str, Any]:
        """Return the request as JSON values; media are replaced by their digest.

        Raises
        ------
        BadPrompt
            If a message holds what JSON has no value for.
        """
        return cast("dict[str, Any]", json.loads(json.dumps(self._meta)))

    @classmethod
    def from_meta(cls, meta: Mapping[str, Any], media: Sequence[Any] = ()) -> Request:
        """Return the request that `to_meta` wrote.

        Parameters
        ----------
        meta
            What `to_meta` returned, or the ``meta`` of a trace, which has it under ``"request"``.
        media
            The media of the request, in any order if they are opened (``trace.images`` are), else in that of
            ``meta["media"]``: anything that `load_image`, `load_video` and `load_audio` accept.

        Raises
        ------
        LabError
            If a medium is missing, or others were passed: digests are compared.
        BadPrompt
            If `meta` is not a request.
        """
        found = meta.get("request", meta) if isinstance(meta, Mapping) else None
        if not isinstance(found, Mapping) or set(found) != _FIELDS:
            raise BadPrompt(
                "The trace does not hold the request that it was made with.", hint="Make the request again."
            )
        try:
            opened = _matched(found["media"], media)
            messages = [_decoded(message, opened) for message in found["messages"]]
            options = {name: found[name] for name in _FIELDS - {"messages", "media", "tools", "sampling"}}
            return cls(
                messages=conversation(messages) if messages else (),
                tools=declared(found["tools"]),
                sampling=Sampling(**found["sampling"]),
                **options,
            )
        except (TypeError, KeyError, AttributeError, IndexError) as error:
            raise BadPrompt(f"This is not a request: {error}", hint=_EXAMPLE) from error

    def with_options(self, **options: Any) -> Request:
        """Return a copy with other values of the fields, checked again."""
        return replace(self, **options)

    def __eq__(self, other: object) -> bool:
        return self._meta == other._meta if isinstance(other, Request) else NotImplemented

    def __hash__(self) -> int:
        return hash(json.dumps(self._meta, sort_keys=True))

    def __repr__(self) -> str:
        if self.ids is not None:
            shown = f"{len(self.ids):,} token ids"
        else:
            shown = short_repr(self.texts[-1] if self.texts else "")
        media = "".join(f", {len(found)} {kind}" for kind in KINDS if (found := self.of_kind(kind)))
        tools = f", {len(self.tools)} tools" if self.tools else ""
        seed = f", seed {self.seed}" if self.seed is not None else ""
        return (
            f"Request({shown}{media}{tools}{', raw' if self.raw else ''}, {self.sampling}{seed}, "
            f"max_new_tokens {self.max_new_tokens})"
        )


_FIELDS = {
    "messages", "ids", "media", "tools", "thinking", "raw", "max_soft_tokens", "sampling", "seed",
    "max_new_tokens", "top_logprobs", "stop", "schema", "tool_choice",
}  # fmt: skip


def yes_or_no(name: str, value: Any) -> bool:
    """Return a flag, or raise `LabError` if it is no bool: ``thinking="off"`` would be true."""
    if not isinstance(value, bool | np.bool_):
        raise LabError(f"{name}={short_repr(value)} is not a bool.", hint=f"{name}=True or {name}=False.")
    return bool(value)


def _messages(messages: Any) -> tuple[Message, ...]:
    example = 'messages=[{"role": "user", "content": "Hello"}]'
    found = members("messages", messages, example=example)
    for message in found:
        if not isinstance(message, Mapping):
            raise LabError(f"messages has {short_repr(message)}.", hint=f"For example {example}.")
    return found


def stop_strings(stop: Any) -> tuple[str, ...]:
    """Return stop strings as a tuple; one string is taken for a tuple of it."""
    strings = (stop,) if isinstance(stop, str) else tuple(stop)
    for text in strings:
        if not isinstance(text, str) or not text:
            raise LabError(
                f"stop has {short_repr(text)}.",
                hint='It takes strings that are not empty, and threading.Event objects: stop=["\\n"].',
            )
    return strings


def choice_of_tools(choice: Any, tools: Sequence[Tool], schema: Any) -> str | None:
    """Return a tool choice, or raise `LabError` if it names no declared tool or a schema binds the answer."""
    if choice is None:
        return None
    names = [tool["function"]["name"] for tool in tools]
    known = ["auto", "none", "required", *names]
    if choice not in known or (choice != "none" and not tools):
        raise LabError(
            f"tool_choice={short_repr(choice)} cannot be chosen: {len(names)} tools are declared.",
            hint=f"One of: {', '.join(known)}; pass tools=[…] with it.",
        )
    if schema is not None and choice != "none":
        raise LabError("An answer bound by a schema calls no tools.", hint="Leave tool_choice or schema out.")
    return str(choice)


def token_ids(ids: Any) -> tuple[int, ...]:
    """Return token ids as integers, of a sequence or a one-dimensional array or tensor."""
    listed = ids.tolist() if hasattr(ids, "tolist") else list(ids)
    if not isinstance(listed, list):
        raise BadPrompt(f"The token ids are {short_repr(ids)}.", hint="Pass several of them: [2, 105].")
    if not listed:
        raise BadPrompt("There are no token ids.", hint="Pass at least one.")
    return tuple(whole_number(f"ids[{index}]", each, minimum=0) for index, each in enumerate(listed))


def _encoded(message: Message, left: Mapping[str, Iterator[int]]) -> dict[str, Any]:
    """Return a message in which a medium is its index among the request's media."""
    content = message["content"]
    if not isinstance(content, str):
        content = [
            part if part["type"] == "text" else {"type": part["type"], "media": next(left[part["type"]])}
            for part in content
        ]
    return cast("dict[str, Any]", plain({**message, "content": content}, "A message"))


def _decoded(message: Mapping[str, Any], media: Sequence[Any]) -> Message:
    content = message["content"]
    if not isinstance(content, str):
        content = [
            {"type": part["type"], part["type"]: media[part["media"]]} if "media" in part else part
            for part in content
        ]
    return {**message, "content": content}


def _matched(digests: Sequence[Mapping[str, Any]], media: Sequence[Any]) -> list[Any]:
    """Return the media that digests name, opened, in the order of the digests."""
    by_hash: dict[tuple[str, str], Any] = {}
    for index, medium in enumerate(media):
        wanted = digests[index] if index < len(digests) else {"kind": "image"}
        kind, opened = _opened(medium, wanted)
        by_hash[kind, digest(kind, opened)["sha256"]] = opened
    found = [by_hash.get((each["kind"], each["sha256"])) for each in digests]
    missing = [each for each, medium in zip(digests, found, strict=True) if medium is None]
    if missing:
        kinds = [each["kind"] for each in missing]
        counts = ", ".join(f"{kinds.count(kind)} {kind}" for kind in KINDS if kind in kinds)
        raise LabError(
            f"{len(missing)} of {len(digests)} media of the request are missing, or are others: {counts}.",
            hint="gl.Request.from_meta(trace.meta, media=[…]); trace.images holds pictures only, and a file "
            "only what trace.save(path, images=True) wrote.",
        )
    return found


def _opened(medium: Any, wanted: Mapping[str, Any]) -> tuple[str, Any]:
    from PIL.Image import Image

    for kind, of in (("image", Image), ("video", Video), ("audio", Audio)):
        if isinstance(medium, of):
            return kind, medium
    kind = wanted["kind"]
    if kind == "video":
        return kind, load_video(medium, frames=wanted["frames"])
    return kind, load_audio(medium) if kind == "audio" else load_image(medium)

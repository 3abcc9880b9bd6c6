"""Build a `Request` from a prompt and keyword options; media are counted before they are decoded."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ...checks import short_repr
from ...errors import BadMedia, BadPrompt, ContextFull, DoesNotFit, LabError
from ...system.hardware import amount, free_ram
from ..media import check_max_soft_tokens
from .media_tokens import measure_media
from .messages import conversation
from .options import PROMPT_OPTIONS
from .reply import Reply
from .request import KINDS, Request, stop_strings, yes_or_no
from .sampling import Sampling
from .tools import declared_for

if TYPE_CHECKING:
    from ..loading.loaded_model import LoadedModel
    from .types import Message

#: What a verb takes as its prompt.
PromptLike = str | Sequence[Any] | Request | None
_CHAT_ONLY = ("system", "previous", "tools", "tool_results")


def build_request(
    model: LoadedModel,
    prompt: PromptLike,
    options: Mapping[str, Any],
    *,
    sampling: Sampling | None = None,
    max_new_tokens: int = 512,
    limited: bool = True,
) -> Request:
    """Return the request that a verb was called with.

    Parameters
    ----------
    model
        Its processor opens media.
    prompt
        Text, messages or token ids; or a `Request`, of which `options` may replace sampling and limits.
    options
        `RequestOptions`. Events in ``stop`` are not part of a request (`stop_events`).
    sampling, max_new_tokens
        Defaults of the verb.
    limited
        Raise `ContextFull` as soon as the media exceed the context, by their headers: none is decoded then.

    Raises
    ------
    BadPrompt, BadMedia, ContextFull, LabError
        As `Lab.chat` documents.
    """
    options = {name: value for name, value in options.items() if value is not None}
    strings = stop_strings(text for text in stops(options.get("stop")) if isinstance(text, str))
    if isinstance(prompt, Request):
        return _changed(prompt, options, strings)
    fields: dict[str, Any] = {
        name: options[name]
        for name in ("thinking", "max_soft_tokens", "seed", "top_logprobs", "raw", "schema", "tool_choice")
        if name in options
    }
    raw = yes_or_no("raw", options.get("raw", False))
    if raw:
        _refuse_chat_options(options)
    if raw and _are_ids(prompt):
        fields["ids"] = _checked_ids(model, prompt, options)
    else:
        fields["messages"] = _messages(model, prompt, options, raw=raw, limited=limited)
        fields["tools"] = declared_for(options.get("previous"), options.get("tools"))
    return Request(
        **fields,
        sampling=_sampling(options, default=sampling or Sampling()),
        max_new_tokens=options.get("max_new_tokens", max_new_tokens),
        stop=strings,
    )


def stops(stop: Any) -> tuple[Any, ...]:
    """Return stop strings and events as a tuple; one alone is taken for a tuple of it."""
    if stop is None:
        return ()
    several = isinstance(stop, Iterable) and not isinstance(stop, str | bytes | Mapping)
    listed = tuple(stop) if several else (stop,)
    for each in listed:
        if not isinstance(each, str | threading.Event):
            raise LabError(
                f"stop has {short_repr(each)}, of type {type(each).__name__}.",
                hint='It takes strings and threading.Event objects, e.g. stop=["\\n"].',
            )
    return listed


def stop_events(stop: Any) -> tuple[threading.Event, ...]:
    """Return the events among what was passed as ``stop``."""
    return tuple(each for each in stops(stop) if isinstance(each, threading.Event))


def frame_limit(model: LoadedModel) -> int | None:
    """Return how many frames of a video the model's processor takes; None if it has no such number."""
    number = getattr(getattr(getattr(model, "processor", None), "video_processor", None), "num_frames", None)
    return int(number) if number else None


def check_modality(model: LoadedModel, kind: str) -> None:
    """Raise `BadMedia` if a model has no tower or processor for ``"image"``, ``"video"`` or ``"audio"``."""
    if kind in model.modalities:
        return
    from ...family.catalog import catalog

    noun, tower = {
        "image": ("images", "vision"),
        "video": ("videos", "vision"),
        "audio": ("sounds", "audio"),
    }[kind]
    sizes = ", ".join(dict.fromkeys(row.size for row in catalog(modality=kind)))
    raise BadMedia(
        f"{model.name} takes no {noun}: it was loaded without its {tower} tower or processor.",
        hint=f"These sizes take {noun}: {sizes}.",
    )


class MediaCounter:
    """Adds up media by their headers, before they are decoded, and refuses what cannot be kept.

    Parameters
    ----------
    model
        Its context is the limit of the soft tokens, the free memory that of the decoded media.
    max_soft_tokens
        Per image and per video frame; None for the processor's own limit.
    limited
        Whether the context is a limit.
    """

    def __init__(self, model: LoadedModel, max_soft_tokens: int | None, *, limited: bool = True) -> None:
        self._model, self._max_soft_tokens, self._limited = model, max_soft_tokens, limited
        self._counts = dict.fromkeys(KINDS, 0)
        self.tokens = self.memory = 0

    def add(self, kind: str, source: Any, keywords: Mapping[str, Any], *, opened: bool = False) -> None:
        """Count one medium.

        Parameters
        ----------
        kind, source, keywords
            Which loader opens it, and what the loader is called with.
        opened
            Whether it is in memory already, and stays there.

        Raises
        ------
        BadMedia
            If the model takes none of its kind, or its header cannot be read.
        ContextFull
            If the media counted so far leave no space in the context.
        DoesNotFit
            If they would take more than the free memory when they are decoded.
        """
        check_modality(self._model, kind)
        tokens, memory = measure_media(self._model, kind, source, keywords, self._max_soft_tokens)
        self.tokens += tokens
        self.memory += 0 if opened else memory
        self._counts[kind] += 1
        if self._limited and self.tokens >= self._model.context:
            raise ContextFull(
                f"The first {self._listed()} of the prompt take {self.tokens:,} soft tokens; the context of "
                f"{self._model.name} is {self._model.context:,}. No medium was decoded.",
                hint="Pass fewer media, lower max_soft_tokens, or load a model with a longer context.",
            )
        free = free_ram()  # now: a generator's media take memory before they are decoded
        if self.memory > free:
            raise DoesNotFit(
                f"The first {self._listed()} of the prompt take {amount(self.memory)} as pixels and samples; "
                f"{amount(free)} of RAM are free. No medium was decoded.",
                hint="Pass fewer media, or scale them down: the largest image that a Gemma 4 sees has about "
                "2.6 Mpx.",
            )

    def _listed(self) -> str:
        return " and ".join(f"{count:,} {kind}" for kind, count in self._counts.items() if count)


def _changed(request: Request, options: Mapping[str, Any], strings: tuple[str, ...]) -> Request:
    """Return a request with another sampling or other limits."""
    if fixed := [name for name in PROMPT_OPTIONS if name in options]:
        raise LabError(
            f"{', '.join(fixed)} cannot be passed with a Request: it has its own.",
            hint="Make another one with lab.request(…); sampling, seed and limits can be replaced.",
        )
    changes = {name: options[name] for name in ("seed", "max_new_tokens", "top_logprobs") if name in options}
    sampling = _sampling(options, default=request.sampling)
    if sampling != request.sampling:
        changes["sampling"] = sampling
    if strings:
        changes["stop"] = strings
    return request.with_options(**changes) if changes else request


def _sampling(options: Mapping[str, Any], *, default: Sampling) -> Sampling:
    base = Sampling.of(options["sampling"]) if "sampling" in options else default
    return base.but(**{name: options[name] for name in ("temperature", "top_p", "top_k") if name in options})


def _messages(
    model: LoadedModel, prompt: Any, options: Mapping[str, Any], *, raw: bool, limited: bool
) -> list[Message]:
    previous = options.get("previous")
    if previous is not None and not isinstance(previous, Reply):
        raise BadPrompt(
            f"previous is of type {type(previous).__name__}, not a Reply.",
            hint='Pass messages in the prompt: lab.chat([*messages, {"role": "user", "content": …}]).',
        )
    if previous is not None and not previous.messages:
        raise BadPrompt(
            "previous is the answer to a raw prompt, so it has no conversation to continue.",
            hint="Pass its text on: lab.complete(text + reply.text).",
        )
    counter = MediaCounter(model, check_max_soft_tokens(options.get("max_soft_tokens")), limited=limited)
    if previous is not None:
        for kind, medium in Request(previous.messages, max_new_tokens=0).media:
            counter.add(kind, medium, {}, opened=True)
    if raw and not isinstance(prompt, str):
        prompt = [{"role": "user", "content": prompt}]
    return conversation(
        prompt,
        images=options.get("images", ()),
        video=options.get("video"),
        audio=options.get("audio"),
        system=None if options.get("system") == "" else options.get("system"),
        previous=previous,
        results=options.get("tool_results"),
        frames=frame_limit(model),
        check=counter.add,
    )


def _refuse_chat_options(options: Mapping[str, Any]) -> None:
    """Raise `BadPrompt` for options that only a chat template can express."""
    unusable = [name for name in _CHAT_ONLY if options.get(name)]
    unusable += ["thinking"] if options.get("thinking") else []
    if unusable:
        raise BadPrompt(
            f"A raw prompt has no {', '.join(unusable)}: only the chat template writes them.",
            hint="Leave them out, or leave raw out.",
        )


def _are_ids(prompt: Any) -> bool:
    """Return whether a raw prompt is token ids: a sequence of integers, an array or a tensor."""
    if hasattr(prompt, "tolist"):
        return True
    return (
        isinstance(prompt, Sequence)
        and not isinstance(prompt, str)
        and all(hasattr(each, "__index__") for each in prompt)
    )


def _checked_ids(model: LoadedModel, prompt: Any, options: Mapping[str, Any]) -> Any:
    ids = prompt.tolist() if hasattr(prompt, "tolist") else list(prompt)
    if ids and isinstance(ids[0], list) and len(ids) == 1:
        (ids,) = ids  # (1, tokens), as tokenizers return them
    if any(name in options for name in ("images", "video", "audio")):
        raise BadPrompt("Token ids take no media.", hint="Pass the text with images=[…] instead.")
    placeholders = {getattr(model.processor, f"{kind}_token_id", None) for kind in KINDS} - {None}
    for index, each in enumerate(ids):
        if isinstance(each, bool) or not hasattr(each, "__index__") or not 0 <= each < model.vocabulary:
            raise BadPrompt(
                f"Token {index} of the prompt is {short_repr(each)}, not an id below {model.vocabulary:,}.",
                hint="Ids are those of lab.tokenizer.",
            )
        if each in placeholders:
            raise BadPrompt(
                f"Token {index} of the prompt, {each}, is a placeholder of a medium; ids take none.",
                hint="Pass the text with images=[…], video=… or audio=….",
            )
    return ids

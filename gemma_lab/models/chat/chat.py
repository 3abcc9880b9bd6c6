"""Ask a model something: `chat` waits for the answer, `stream` gives it piece by piece.

`Lab.chat` and `Lab.stream` call these; the parameters are documented there.
"""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

from ...errors import LabError
from .generation import Generation
from .messages import conversation
from .prompt import frame_limit, prepare
from .sampling import Sampling
from .stream import Stream
from .tools import declared_for

if TYPE_CHECKING:
    from ..loading.loaded_model import LoadedModel
    from .generation import Heard
    from .reply import Reply
    from .tools import Tool


def chat(
    lab: LoadedModel,
    prompt: str | list[dict[str, Any]] | None = None,
    *,
    images: Iterable[Any] = (),
    video: Any = None,
    audio: Any = None,
    max_soft_tokens: int | None = None,
    system: str | None = None,
    previous: Reply | None = None,
    tools: Iterable[Tool | Callable[..., Any]] | None = None,
    tool_results: Sequence[Any] | None = None,
    thinking: bool = False,
    sampling: Sampling | None = None,
    temperature: float | None = None,
    top_p: float | None = None,
    top_k: int | None = None,
    seed: int | None = None,
    max_new_tokens: int = 512,
    top_logprobs: int = 5,
    stop: threading.Event | None = None,
) -> Reply:
    """Ask `lab`, wait for the whole answer and return it; see `Lab.chat`.

    An interrupt of the cell goes through; what there was of the answer is in ``lab.last_reply``.
    """
    messages = conversation(
        prompt,
        images=images,
        video=video,
        audio=audio,
        system=system,
        previous=previous,
        results=tool_results,
        frames=frame_limit(lab),
    )
    drawn = (sampling or Sampling()).but(temperature=temperature, top_p=top_p, top_k=top_k)
    generation = Generation(
        lab,
        prepare(
            lab,
            messages,
            thinking=thinking,
            max_soft_tokens=max_soft_tokens,
            tools=declared_for(previous, tools),
        ),
        sampling=drawn,
        seed=chosen_seed(seed, drawn),
        max_new_tokens=whole_number("max_new_tokens", max_new_tokens, least=1),
        top_logprobs=whole_number("top_logprobs", top_logprobs, least=0),
        stop=(stop,) if stop is not None else (),
    )
    generation.run()
    return generation.reply()


def stream(
    lab: LoadedModel,
    prompt: str | list[dict[str, Any]] | None = None,
    *,
    images: Iterable[Any] = (),
    video: Any = None,
    audio: Any = None,
    max_soft_tokens: int | None = None,
    system: str | None = None,
    previous: Reply | None = None,
    tools: Iterable[Tool | Callable[..., Any]] | None = None,
    tool_results: Sequence[Any] | None = None,
    thinking: bool = False,
    sampling: Sampling | None = None,
    temperature: float | None = None,
    top_p: float | None = None,
    top_k: int | None = None,
    seed: int | None = None,
    max_new_tokens: int = 512,
    top_logprobs: int = 5,
    stop: threading.Event | None = None,
) -> Stream:
    """Ask `lab` and get the answer piece by piece; see `Lab.stream`.

    Errors of the prompt are raised here, those of the model where the stream is read.
    """
    messages = conversation(
        prompt,
        images=images,
        video=video,
        audio=audio,
        system=system,
        previous=previous,
        results=tool_results,
        frames=frame_limit(lab),
    )
    drawn = (sampling or Sampling()).but(temperature=temperature, top_p=top_p, top_k=top_k)
    ready = prepare(
        lab, messages, thinking=thinking, max_soft_tokens=max_soft_tokens, tools=declared_for(previous, tools)
    )
    most = whole_number("max_new_tokens", max_new_tokens, least=1)
    kept = whole_number("top_logprobs", top_logprobs, least=0)
    chosen = chosen_seed(seed, drawn)
    halt = threading.Event()
    events = (halt, stop) if stop is not None else (halt,)

    def begin(heard: Heard) -> Generation:
        return Generation(
            lab,
            ready,
            sampling=drawn,
            seed=chosen,
            max_new_tokens=most,
            top_logprobs=kept,
            stop=events,
            heard=heard,
        )

    return Stream(begin, halt)


def chosen_seed(seed: int | None, sampling: Sampling) -> int | None:
    """Return the seed to use; one is drawn if none was given, so that the reply can be had again."""
    if seed is None:
        # below 2**53, so that it also survives JavaScript
        return secrets.randbelow(2**53) if sampling.do_sample else None
    if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed < 2**63:
        raise LabError(
            f"seed={seed!r} is not a whole number from 0 to 2**63 - 1.", hint="For example seed=7."
        )
    return seed


def whole_number(name: str, value: int, *, least: int) -> int:
    """Return a setting that must be a whole number of at least so much, or raise `LabError`."""
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise LabError(
            f"{name}={value!r} is not a whole number of {least} or more.", hint=f"For example {name}=20."
        )
    return value

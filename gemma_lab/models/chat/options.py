"""The keyword options of a request, typed once for every verb that takes them."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypedDict, TypeVar

if TYPE_CHECKING:
    import threading

    from .reply import Reply
    from .sampling import Sampling

Verb = TypeVar("Verb", bound=Callable[..., Any])


class PromptOptions(TypedDict, total=False):
    """Options that decide what the model reads; `gemma_lab.Lab.chat` documents each.

    They are those of every verb: `chat`, `stream`, `complete`, `request`, `cost`, `trace`, `next_token` and
    `activations`.
    """

    images: Iterable[Any] | Any
    video: Any
    audio: Any
    max_soft_tokens: int | None
    system: str | None
    previous: Reply | None
    tools: Iterable[Mapping[str, Any] | Callable[..., Any]] | Callable[..., Any] | None
    tool_results: Sequence[Any] | None
    thinking: bool
    raw: bool


class RequestOptions(PromptOptions, total=False):
    """`PromptOptions`, and those that decide how the answer is generated."""

    schema: Any
    tool_choice: str | None
    sampling: Sampling | Mapping[str, float] | None
    temperature: float | None
    top_p: float | None
    top_k: int | None
    seed: int | None
    max_new_tokens: int
    top_logprobs: int
    stop: str | threading.Event | Sequence[str | threading.Event] | None


_DEFAULTS = {"images": (), "thinking": False, "raw": False, "max_new_tokens": 512, "top_logprobs": 5}
#: Names of the options that decide what the model reads.
PROMPT_OPTIONS = tuple(PromptOptions.__annotations__)


def check_keywords(verb: str, keywords: Iterable[str], kind: type, *, also: Sequence[str] = ()) -> None:
    """Raise `TypeError` if a keyword is not an option of a class; the message suggests a similar one.

    Parameters
    ----------
    verb
        Name of the function, for the message.
    keywords
        The keywords that were passed.
    kind
        `PromptOptions` or `RequestOptions`.
    also
        Keywords that the function takes besides.
    """
    known = [*kind.__annotations__, *also]
    for name in keywords:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            suggestion = f". Did you mean {near[0]!r}?" if near else ""
            raise TypeError(f"{verb}() got an unexpected keyword argument {name!r}{suggestion}")


def spelled_out(kind: type, **defaults: Any) -> Callable[[Verb], Verb]:
    """Return a decorator that lists the keywords of an options class in a function's signature.

    ``help()``, completion and documentation then show every keyword in the place of ``**options``.

    Parameters
    ----------
    kind
        `PromptOptions` or `RequestOptions`.
    **defaults
        Values that the signature shows where they differ from those of `Lab.chat`.
    """
    shown = {**_DEFAULTS, **defaults}

    def decorate(verb: Verb) -> Verb:
        signature = inspect.signature(verb)
        parameters = [each for each in signature.parameters.values() if each.kind is not each.VAR_KEYWORD]
        parameters += [
            inspect.Parameter(
                name,
                inspect.Parameter.KEYWORD_ONLY,
                default=shown.get(name),
                annotation=annotation.__forward_arg__,
            )
            for name, annotation in kind.__annotations__.items()
            if name not in signature.parameters
        ]
        verb.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
        return verb

    return decorate

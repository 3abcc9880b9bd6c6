"""Cost of a prompt before it runs: its tokens by medium, the cache they fill, the memory to read them.

Nothing is encoded: the soft tokens of a medium follow from its size or length by the processors' own rules,
and the text around them is written out and counted.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ...display import Displayed
from ...system.hardware import amount
from .media_tokens import MediaTokens, count_media_tokens
from .options import RequestOptions, check_keywords
from .prefill_plan import CHUNK_TOKENS, SINGLE_PASS_TOKENS, PrefillMemory
from .prompt import count_tokens, write_text
from .request_builder import build_request

if TYPE_CHECKING:
    from typing import Unpack

    from ...family.architecture import Architecture
    from ..loading.loaded_model import LoadedModel
    from .request_builder import PromptLike

_NAMES = {"text": "text", "image": "images", "video": "video", "audio": "audio"}


@dataclass(frozen=True)
class Cost(Displayed):
    """Tokens, cache and memory of a prompt; `Lab.cost` makes one.

    Attributes
    ----------
    model
        Name of the model.
    tokens
        Tokens of the prompt by medium: ``"text"`` (the chat format's own and declared tools included),
        ``"image"``, ``"video"``, ``"audio"``; only those that occur.
    media
        The soft tokens of each medium.
    max_new_tokens
        Tokens of an answer that are included in the cache.
    context
        The model's context, in tokens.
    kv_cache_bytes
        Of the keys and values after the answer, in the model's dtype: those of the layers that have their
        own, for as many tokens as each keeps. From the first generated token on: right after the prefill
        transformers' sliding-window cache still holds a view of all keys.
    prefill_bytes
        Estimated peak of the prefill beside the weights, with the cache and without the towers
        (`gemma_lab.models.chat.prefill_plan.PrefillMemory`).
    """

    model: str
    tokens: dict[str, int]
    media: tuple[MediaTokens, ...] = field(repr=False)
    max_new_tokens: int
    context: int
    kv_cache_bytes: int
    prefill_bytes: int

    @property
    def prompt_tokens(self) -> int:
        """Tokens of the prompt in total."""
        return sum(self.tokens.values())

    @property
    def fits(self) -> bool:
        """Whether the context also holds an answer of `max_new_tokens` tokens, or at least of one."""
        return self.prompt_tokens + max(1, self.max_new_tokens) <= self.context

    def __str__(self) -> str:
        parts = [f"{count:,} {_NAMES[kind]}" for kind, count in self.tokens.items()]
        by_kind = f": {' + '.join(parts)}" if len(parts) > 1 else ""
        answer = f" + {self.max_new_tokens:,} generated" if self.max_new_tokens else ""
        fits = "" if self.fits else ", does not fit"
        return (
            f"{self.prompt_tokens:,} tokens{by_kind}{answer}, of {self.context:,}{fits}; KV cache "
            f"{amount(self.kv_cache_bytes)}, prefill about {amount(self.prefill_bytes)}"
        )

    def __repr__(self) -> str:
        return f"Cost({self})"


def cost(model: LoadedModel, prompt: PromptLike = None, **options: Unpack[RequestOptions]) -> Cost:
    """Return the tokens, cache and memory of a prompt; see `Lab.cost`."""
    check_keywords("cost", options, RequestOptions)
    request = build_request(model, prompt, options, max_new_tokens=0, limited=False)
    if request.ids is not None:
        tokens = {"text": len(request.ids)}
    else:
        tokens = count_tokens(model, request, write_text(model, request))
    total = sum(tokens.values())
    shape = model.architecture
    size = model.dtype.itemsize
    memory = PrefillMemory.of(shape, value_bytes=size)
    return Cost(
        model=model.name,
        tokens=tokens,
        media=tuple(
            count_media_tokens(model, kind, medium, request.max_soft_tokens) for kind, medium in request.media
        ),
        max_new_tokens=request.max_new_tokens,
        context=model.context,
        kv_cache_bytes=cached_bytes(shape, total + max(0, request.max_new_tokens - 1), value_bytes=size),
        prefill_bytes=memory.bytes(total if total <= SINGLE_PASS_TOKENS else CHUNK_TOKENS, total),
    )


def cached_bytes(shape: Architecture, tokens: int, *, value_bytes: int) -> int:
    """Return the bytes of the keys and values that transformers keeps after `tokens` tokens.

    A sliding-window layer keeps one token fewer than its window: the next one brings its own. Layers that
    share the keys and values of another one keep none.
    """
    per_token = 2 * value_bytes
    return sum(
        per_token
        * layer.kv_heads
        * layer.head_dim
        * (tokens if layer.window is None else min(tokens, layer.window - 1))
        for layer in shape.owners
    )

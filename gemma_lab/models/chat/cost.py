"""What a prompt costs before it runs: its tokens by medium, the cache they fill, the memory to read them.

Nothing is encoded: the soft tokens of a medium follow from its size or length by the processors' own rules,
and the text around them is written out and counted.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ...display import Displayed
from ...family.architecture import from_config
from ..media import check_max_soft_tokens
from ..media.soft_tokens import soft_tokens
from .chat import whole_number
from .messages import conversation
from .prefill_plan import PIECE, WHOLE, Need
from .prompt import begins, check_media, frame_limit, refuse_placeholders, rendered
from .tools import declared_for

if TYPE_CHECKING:
    from ...family.architecture import Architecture
    from ..loading.loaded_model import LoadedModel
    from ..media import Audio, Video
    from .reply import Reply
    from .tools import Tool


@dataclass(frozen=True)
class Item:
    """One medium of a prompt and what it costs.

    Attributes
    ----------
    kind
        ``"image"``, ``"video"`` or ``"audio"``.
    what
        Its size or length, in words.
    tokens
        Its soft tokens; the marks and timestamps around them count as text.
    """

    kind: str
    what: str
    tokens: int


@dataclass(frozen=True)
class Cost(Displayed):
    """What a prompt costs; `Lab.cost` makes one.

    Attributes
    ----------
    model
        Name of the model.
    tokens
        Tokens of the prompt by medium: ``"text"`` (the chat format's own and declared tools included),
        ``"image"``, ``"video"``, ``"audio"``; only what there is.
    media
        Each medium by itself.
    max_new_tokens
        Tokens of the answer that are counted with.
    context
        Longest context of the model, in tokens.
    kv_cache_bytes
        Of the keys and values once the answer is written, in the model's dtype: those of the layers that
        keep their own, for as many tokens as each keeps.
    prefill_bytes
        What reading the prompt takes beside the weights at its peak, the cache included and towers excluded:
        an estimate (`gemma_lab.models.chat.prefill_plan.Need`).
    """

    model: str
    tokens: dict[str, int]
    media: tuple[Item, ...] = field(repr=False)
    max_new_tokens: int
    context: int
    kv_cache_bytes: int
    prefill_bytes: int

    @property
    def prompt_tokens(self) -> int:
        """Tokens of the prompt, all together."""
        return sum(self.tokens.values())

    @property
    def fits(self) -> bool:
        """Whether the prompt leaves room for an answer of `max_new_tokens` tokens, or at least of one."""
        return self.prompt_tokens + max(1, self.max_new_tokens) <= self.context

    def __repr__(self) -> str:
        from ...views.chat.cost import cost_line

        return f"Cost({cost_line(self)})"


def cost(
    lab: LoadedModel,
    prompt: str | list[dict[str, Any]],
    *,
    images: Iterable[Any] = (),
    video: Any = None,
    audio: Any = None,
    max_soft_tokens: int | None = None,
    system: str | None = None,
    previous: Reply | None = None,
    tools: Iterable[Tool | Callable[..., Any]] | None = None,
    thinking: bool = False,
    max_new_tokens: int = 0,
) -> Cost:
    """Return what a prompt would cost; see `Lab.cost`."""
    messages = conversation(
        prompt,
        images=images,
        video=video,
        audio=audio,
        system=system,
        previous=previous,
        frames=frame_limit(lab),
    )
    max_soft_tokens = check_max_soft_tokens(max_soft_tokens)
    max_new_tokens = whole_number("max_new_tokens", max_new_tokens, least=0)
    pictures, videos, sounds = check_media(lab, messages)
    refuse_placeholders(messages)
    items = [
        *(_picture(lab, image.size, max_soft_tokens) for image in pictures),
        *(_video(lab, clip, max_soft_tokens) for clip in videos),
        *(_sound(lab, recording) for recording in sounds),
    ]
    tokens = _counted(lab, rendered(lab, messages, thinking, declared_for(previous, tools)), items, videos)
    total = sum(tokens.values())
    shape = from_config(lab.config.to_dict())
    size = lab.dtype.itemsize
    need = Need.of(shape, value_bytes=size)
    return Cost(
        model=lab.name,
        tokens=tokens,
        media=tuple(items),
        max_new_tokens=max_new_tokens,
        context=lab.context,
        kv_cache_bytes=cached_bytes(shape, total + max(0, max_new_tokens - 1), value_bytes=size),
        prefill_bytes=need.bytes(total if total <= WHOLE else PIECE, total),
    )


def cached_bytes(shape: Architecture, tokens: int, *, value_bytes: int) -> int:
    """Return the bytes of the keys and values that transformers keeps after `tokens` tokens.

    A local layer keeps one token fewer than its window: the next one brings its own. Layers that read
    another's keys and values keep none.
    """
    return sum(
        2 * layer.kv_heads * layer.head_dim * value_bytes
        * (tokens if layer.window is None else min(tokens, layer.window - 1))
        for layer in shape.owners
    )  # fmt: skip


def _picture(lab: LoadedModel, size: tuple[int, int], max_soft_tokens: int | None) -> Item:
    width, height = size
    count = _soft(lab.processor.image_processor, size, max_soft_tokens)
    return Item("image", f"{width:,} × {height:,} pixels", count)


def _video(lab: LoadedModel, clip: Video, max_soft_tokens: int | None) -> Item:
    count = _soft(lab.processor.video_processor, clip.size, max_soft_tokens)
    frames = len(clip.frames)
    return Item("video", f"{frames:,} frame{'' if frames == 1 else 's'} of {count:,}", frames * count)


def _sound(lab: LoadedModel, recording: Audio) -> Item:
    count = sound_tokens(lab.processor.feature_extractor, len(recording.samples))
    return Item("audio", f"{recording.seconds:.2f} s", count)


def _soft(processor: Any, size: tuple[int, int], max_soft_tokens: int | None) -> int:
    return soft_tokens(
        size, max_soft_tokens=max_soft_tokens or processor.max_soft_tokens, patch=processor.patch_size,
        pooling=processor.pooling_kernel_size,
    )  # fmt: skip


def sound_tokens(extractor: Any, samples: int) -> int:
    """Return the soft tokens of a sound.

    Parameters
    ----------
    extractor
        The processor's feature extractor: of mel frames (E2B, E4B) or of the wave itself (12B).
    samples
        At 16 kHz.

    Notes
    -----
    A mel frame counts if its window, which begins half a window before the sound, ends within it
    (``Gemma4AudioFeatureExtractor``); two convolutions of stride 2 then halve their number twice,
    rounded up.
    The 12B takes pieces of 640 samples, the last one padded.
    """
    hop = getattr(extractor, "hop_length", None)
    if hop is None:
        return math.ceil(samples / int(extractor.audio_samples_per_token))
    length = int(extractor.frame_length)
    frames = max(0, math.ceil((samples + length // 2 - length) / int(hop)))
    return math.ceil(math.ceil(frames / 2) / 2)


def _counted(lab: LoadedModel, text: str, items: list[Item], videos: tuple[Video, ...]) -> dict[str, int]:
    """Write out what the processor writes in place of each placeholder, one token for all soft ones, count.

    The soft tokens of one medium are neighbours, and each is a token of its own: one stands for them all.
    """
    processor = lab.processor
    before, *behind = text.split("<|video|>")
    text = before
    for clip, rest in zip(videos, behind, strict=True):
        frames = [f"{stamp} {processor.boi_token}<|video|>{processor.eoi_token}" for stamp in clip.timestamps]
        text += " ".join(frames) + rest
    for name, opening, closing in (("image", "boi_token", "eoi_token"), ("audio", "boa_token", "eoa_token")):
        if any(item.kind == name for item in items):
            mark = f"<|{name}|>"
            text = text.replace(mark, f"{getattr(processor, opening)}{mark}{getattr(processor, closing)}")
    ids = lab.tokenizer(text, add_special_tokens=not begins(lab, text))["input_ids"]
    placed = len([item for item in items if item.kind != "video"]) + sum(len(clip.frames) for clip in videos)
    tokens = {"text": len(ids) - placed}
    for kind in ("image", "video", "audio"):
        if count := sum(item.tokens for item in items if item.kind == kind):
            tokens[kind] = count
    return tokens

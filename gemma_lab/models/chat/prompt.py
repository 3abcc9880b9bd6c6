"""From a request to the model's inputs: text, token ids, encoded media, and whether they fit the context."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ...errors import BadMedia, BadPrompt, ContextFull, TooOld
from ..media.audio import SAMPLE_RATE
from .media_tokens import count_media_tokens
from .request_builder import check_modality
from .template import PLACEHOLDERS, render

if TYPE_CHECKING:
    from PIL.Image import Image

    from ..loading.loaded_model import LoadedModel
    from ..media import Audio, Video
    from .request import Request


@dataclass(frozen=True)
class Prompt:
    """A request, ready for the model.

    Attributes
    ----------
    request
        What it was made from.
    text
        What the chat template wrote, before placeholders were expanded to soft tokens; ``""`` for token ids.
    inputs
        Keyword arguments of the model, on its device; ``input_ids`` is ``(1, tokens)``.
    ids
        The same ids, as a list.
    remaining
        Tokens that the context still holds after the prompt.
    images, videos, audios
        The media, in the order of their placeholders.
    """

    request: Request
    text: str
    inputs: dict[str, Any] = field(repr=False)
    ids: list[int] = field(repr=False)
    remaining: int
    images: tuple[Image, ...] = field(default=(), repr=False)
    videos: tuple[Video, ...] = ()
    audios: tuple[Audio, ...] = ()


def prepare(model: LoadedModel, request: Request) -> Prompt:
    """Return a request as the model reads it.

    Control tokens in the text, such as ``<turn|>``, are read as control tokens; placeholders of media are
    refused. What cannot fit the context is refused before media are encoded, and a text that is too long for
    it by its length alone before it is tokenised.

    Raises
    ------
    BadMedia
        If there are media that the model or its processor does not take.
    BadPrompt
        If the checkpoint has no chat template, the template fails, or the text holds a placeholder.
    ContextFull
        If the prompt fills the context without an answer.
    """
    import torch

    if request.ids is not None:
        ids = torch.tensor([request.ids], device=model.device)
        inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
        return Prompt(request, "", inputs, list(request.ids), _remaining(model, request, len(request.ids)))
    text = write_text(model, request)
    soft = 0
    if request.media:
        counts = count_tokens(model, request, text)
        soft = sum(counts.values()) - counts["text"]
        _remaining(model, request, sum(counts.values()), soft)
    encoded = _encoded(model, request, text)
    inputs = {
        name: value.to(model.device, model.dtype)
        if torch.is_floating_point(value)
        else value.to(model.device)
        for name, value in encoded.items()
        if isinstance(value, torch.Tensor)
    }
    listed = [int(each) for each in encoded["input_ids"][0].tolist()]
    if not listed:
        raise BadPrompt("The prompt is empty: it has no token.", hint="Pass some text.")
    return Prompt(
        request,
        text,
        inputs,
        listed,
        _remaining(model, request, len(listed), soft),
        images=request.of_kind("image"),
        videos=request.of_kind("video"),
        audios=request.of_kind("audio"),
    )


def write_text(model: LoadedModel, request: Request) -> str:
    """Return the text of a request with one placeholder per medium, after checking media and texts.

    Raises
    ------
    BadMedia, BadPrompt, ContextFull
        As `prepare` does.
    """
    for kind, _ in request.media:
        check_modality(model, kind)
    for text in request.texts:
        for name in PLACEHOLDERS.values():
            if name in text:
                raise BadPrompt(
                    f"The text contains {name}, the chat format's placeholder of a medium.",
                    hint="Pass media as images=[…], video=… or audio=… and leave the placeholder out.",
                )
    _refuse_by_length(model, request)
    return _begun(model, render(model, request))


def count_tokens(model: LoadedModel, request: Request, text: str) -> dict[str, int]:
    """Return the tokens of a prompt by modality, ``"text"`` first, without encoding its media.

    The text that the processor inserts for each placeholder is tokenised with one soft token per medium; the
    others are added to the count, since soft tokens are never merged.

    Parameters
    ----------
    model
        The model with its processor.
    request
        The request.
    text
        What `write_text` returned for it.
    """
    processor = model.processor
    videos = request.of_kind("video")
    first, *others = text.split(PLACEHOLDERS["video"])
    text = first
    for video, rest in zip(videos, others, strict=True):
        frames = [
            f"{stamp} {processor.boi_token}{PLACEHOLDERS['video']}{processor.eoi_token}"
            for stamp in video.timestamps
        ]
        text += " ".join(frames) + rest
    for kind, opening, closing in (("image", "boi_token", "eoi_token"), ("audio", "boa_token", "eoa_token")):
        if request.of_kind(kind):
            mark = PLACEHOLDERS[kind]
            text = text.replace(mark, f"{getattr(processor, opening)}{mark}{getattr(processor, closing)}")
    ids = model.tokenizer(text, add_special_tokens=not _begins(model, text))["input_ids"]
    marks = len(request.media) - len(videos) + sum(len(video.frames) for video in videos)
    tokens = {"text": len(ids) - marks}
    for kind, medium in request.media:
        count = count_media_tokens(model, kind, medium, request.max_soft_tokens).tokens
        tokens[kind] = tokens.get(kind, 0) + count
    return tokens


def _remaining(model: LoadedModel, request: Request, size: int, soft: int = 0) -> int:
    """Return how many tokens the context holds after a prompt of `size`; raise `ContextFull` if none."""
    if size < model.context:
        return model.context - size
    media = [f"{len(found)} {kind}" for kind in PLACEHOLDERS if (found := request.of_kind(kind))]
    included = f" ({soft:,} of them for {' and '.join(media)})" if media else ""
    raise ContextFull(
        f"The prompt is {size:,} tokens{included} and the context of {model.name} is {model.context:,}: with "
        f"one token for an answer that is {size + 1 - model.context:,} too many.",
        hint="Shorten the text, drop earlier turns or media, lower max_soft_tokens, or load a model with a "
        "longer context (gl.catalog() lists them).",
    )


def _refuse_by_length(model: LoadedModel, request: Request) -> None:
    """Raise `ContextFull` if texts or messages exceed the context regardless of how they are tokenised.

    A token has at most as many characters as the longest entry of the vocabulary. In Gemma 4's format a turn
    has at least four tokens (``<|turn>``, role, line end, ``<turn|>``); messages of one role in a row can
    share a turn.
    """
    characters = sum(len(text.strip()) for text in request.texts)
    roles = [message["role"] for message in request.messages if message["role"] != "tool"]
    turns = sum(role != before for role, before in zip(roles, [None, *roles], strict=False))
    if characters <= model.context and 4 * turns <= model.context:
        return
    least = max(4 * turns, math.ceil(characters / _longest_token(model.tokenizer)))
    if least >= model.context:
        raise ContextFull(
            f"The prompt has {characters:,} characters in {len(request.messages):,} messages, which are "
            f"{least:,} tokens or more; "
            f"the context of {model.name} is {model.context:,}. They were not tokenised.",
            hint="Shorten the text, or drop earlier turns.",
        )


@functools.lru_cache(maxsize=8)
def _longest_token(tokenizer: Any) -> int:
    """Return the length of the longest entry of a vocabulary in characters."""
    return max(map(len, tokenizer.get_vocab()))


def _encoded(model: LoadedModel, request: Request, text: str) -> Any:
    """Return the processor's outputs for a text and its media."""
    options: dict[str, Any] = {"add_special_tokens": not _begins(model, text), "return_tensors": "pt"}
    limit = {} if request.max_soft_tokens is None else {"max_soft_tokens": request.max_soft_tokens}
    if images := request.of_kind("image"):
        options |= {"images": list(images), "images_kwargs": limit}
    if videos := request.of_kind("video"):
        _check_frame_counts(videos)
        if _old_transformers():
            from ..loading.compat_video import repair_videos

            repair_videos(model.model)
        options |= {
            "videos": [list(video.frames) for video in videos],
            # the frames were chosen when the video was opened, with their times
            "videos_kwargs": {
                "video_metadata": [video.metadata() for video in videos],
                "do_sample_frames": False,
                "return_metadata": True,
                **limit,
            },
        }
    if audios := request.of_kind("audio"):
        options |= {
            "audio": [audio.samples for audio in audios],
            "audio_kwargs": {"sampling_rate": SAMPLE_RATE},
        }
    encoded = model.processor(text=[text], **options)
    _check_grid(model, encoded)
    return encoded


def _begun(model: LoadedModel, text: str) -> str:
    """Return a text for a Gemma 4 with ``<bos>`` if its tokenizer adds none.

    Some files say ``add_bos_token: false``, and Gemma 4 was never without. Other decoders begin as their
    tokenizer does.
    """
    tokenizer = model.tokenizer
    gemma = str(model.config.model_type).startswith("gemma4")
    if not gemma or tokenizer.bos_token_id is None or _begins(model, text):
        return text
    adds = tokenizer("")["input_ids"][:1] == [tokenizer.bos_token_id]
    return text if adds else f"{tokenizer.bos_token}{text}"


def _begins(model: LoadedModel, text: str) -> bool:
    """Return whether a text begins with the token that begins every sequence, so that none is added."""
    return bool(model.tokenizer.bos_token) and text.startswith(model.tokenizer.bos_token)


def _old_transformers() -> bool:
    """Return whether transformers is older than 5.19, where videos got their present form."""
    import transformers

    return tuple(map(int, transformers.__version__.split(".")[:2])) < (5, 19)


def _check_frame_counts(videos: tuple[Video, ...]) -> None:
    """Raise `TooOld` where transformers stacks videos, and these have different numbers of frames."""
    import transformers

    counts = sorted({len(video.frames) for video in videos})
    if _old_transformers() and len(counts) > 1:
        raise TooOld(
            f"transformers {transformers.__version__} takes several videos only with as many frames each; "
            f"these have {', '.join(map(str, counts))}.",
            hint=f"Upgrade transformers to 5.19, or open each with gl.load_video(…, frames={counts[0]}).",
        )


def _check_grid(model: LoadedModel, encoded: Any) -> None:
    """Raise `BadMedia` if an image has more patches along one side than the model has positions for."""
    vision = getattr(model.config, "vision_config", None)
    limit = getattr(vision, "position_embedding_size", None) or getattr(vision, "mm_posemb_size", None)
    for name in ("image_position_ids", "video_position_ids"):
        grid = encoded.get(name)
        if limit and grid is not None and int(grid.max()) >= limit:
            raise BadMedia(
                f"An image is {int(grid.max()) + 1:,} patches long on one side; {model.name} has positions "
                f"for {limit:,}.",
                hint="Lower max_soft_tokens, or crop the image: its sides differ very much.",
            )

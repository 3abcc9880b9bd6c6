"""From a conversation to what the model reads: the template's text, ids, media, and whether they fit."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ...errors import BadMedia, BadPrompt, ContextFull, TooOld
from ..media import check_max_soft_tokens
from ..media.audio import SAMPLE_RATE
from .messages import for_template, pictures, sounds, texts, videos

if TYPE_CHECKING:
    from PIL.Image import Image

    from ..loading.loaded_model import LoadedModel
    from ..media import Audio, Video
    from .messages import Message
    from .tools import Tool

_PLACEHOLDERS = ("<|image|>", "<|video|>", "<|audio|>")


@dataclass(frozen=True)
class Prompt:
    """A conversation, ready for the model.

    Attributes
    ----------
    messages
        The conversation it was made from.
    text
        What the chat template wrote, before media were expanded to soft tokens.
    inputs
        Keyword arguments of the model, on its device; ``input_ids`` is ``(1, tokens)``.
    ids
        The same ids, as a list.
    soft
        How many of them are soft tokens of media.
    images, videos, sounds
        The media, in the order of their placeholders.
    max_soft_tokens
        Soft tokens a picture and a frame may cost; None for the processor's own.
    tools
        The functions that are declared in it.
    """

    messages: list[Message]
    text: str
    inputs: dict[str, Any] = field(repr=False)
    ids: list[int] = field(repr=False)
    soft: int = 0
    images: tuple[Image, ...] = field(default=(), repr=False)
    videos: tuple[Video, ...] = ()
    sounds: tuple[Audio, ...] = ()
    max_soft_tokens: int | None = None
    tools: tuple[Tool, ...] = ()


def frame_limit(lab: LoadedModel) -> int | None:
    """Return how many frames of a video the model's processor looks at; None if it does not say."""
    number = getattr(getattr(getattr(lab, "processor", None), "video_processor", None), "num_frames", None)
    return int(number) if number else None


def prepare(
    lab: LoadedModel, messages: list[Message], *, thinking: bool = False, max_soft_tokens: int | None = None,
    tools: tuple[Tool, ...] = (),
) -> Prompt:  # fmt: skip
    """Return a conversation as the model reads it.

    Control tokens in the text, such as ``<turn|>``, are read as control tokens; placeholders of media are
    refused.

    Raises
    ------
    BadMedia
        If there are pictures and the model or its processor cannot take them.
    BadPrompt
        If the checkpoint has no chat template, the template refuses the messages, or the text holds a
        placeholder.
    ContextFull
        If the prompt alone fills the context.
    """
    max_soft_tokens = check_max_soft_tokens(max_soft_tokens)
    media = check_media(lab, messages)
    refuse_placeholders(messages)
    prompt = _read(lab, messages, rendered(lab, messages, thinking, tools), media, max_soft_tokens, tools)
    room(lab, prompt)
    return prompt


def read_again(
    lab: LoadedModel, text: str, *, images: tuple[Image, ...] = (), max_soft_tokens: int | None = None
) -> Prompt:
    """Return a text that the chat template wrote before, with its pictures, as the model reads it."""
    return _read(lab, [], text, (images, (), ()), check_max_soft_tokens(max_soft_tokens), ())


def _read(
    lab: LoadedModel, messages: list[Message], text: str,
    media: tuple[tuple[Image, ...], tuple[Video, ...], tuple[Audio, ...]], max_soft_tokens: int | None,
    tools: tuple[Tool, ...],
) -> Prompt:  # fmt: skip
    import torch

    encoded = _encoded(lab, text, *media, max_soft_tokens)
    inputs = {
        name: value.to(lab.device, lab.dtype) if torch.is_floating_point(value) else value.to(lab.device)
        for name, value in encoded.items()
        if isinstance(value, torch.Tensor)
    }
    ids = encoded["input_ids"][0].tolist()
    marks = [getattr(lab.processor, f"{kind}_token_id", None) for kind in ("image", "video", "audio")]
    soft = sum(ids.count(mark) for mark, given in zip(marks, media, strict=True) if given)
    return Prompt(messages, text, inputs, ids, soft, *media, max_soft_tokens, tools)


def check_media(
    lab: LoadedModel, messages: list[Message]
) -> tuple[tuple[Image, ...], tuple[Video, ...], tuple[Audio, ...]]:
    """Return the pictures, videos and sounds of a conversation.

    Raises
    ------
    BadMedia
        If there are some that the model has no tower or no processor for.
    """
    media = (tuple(pictures(messages)), tuple(videos(messages)), tuple(sounds(messages)))
    for kind, given in zip(("image", "video", "audio"), media, strict=True):
        if given:
            check_modality(lab, kind)
    return media


def check_modality(lab: LoadedModel, kind: str) -> None:
    """Raise `BadMedia` if a model has no tower or processor for ``"image"``, ``"video"`` or ``"audio"``."""
    if kind not in lab.modalities:
        raise _missing(lab, kind)


def room(lab: LoadedModel, prompt: Prompt) -> int:
    """Return how many tokens the context still holds after the prompt; at least 1.

    Raises
    ------
    ContextFull
        If there is none.
    """
    size = len(prompt.ids)
    if size < lab.context:
        return lab.context - size
    seen = f" ({prompt.soft:,} of them for {_listed(prompt)})" if prompt.soft else ""
    over = size + 1 - lab.context
    raise ContextFull(
        f"The prompt is {size:,} tokens{seen} and the context of {lab.name} is {lab.context:,}: with one "
        f"token for an answer that is {over:,} too many.",
        hint="Shorten the text, drop earlier turns or media, lower `max_soft_tokens`, or load a model with a longer "
        "context (gemma_lab.catalog() lists them).",
    )


def _listed(prompt: Prompt) -> str:
    """Return e.g. ``"1 picture and 2 sounds"``."""
    counts = [(prompt.images, "picture"), (prompt.videos, "video"), (prompt.sounds, "sound")]
    parts = [f"{len(given)} {noun}{'' if len(given) == 1 else 's'}" for given, noun in counts if given]
    return " and ".join(parts)


def rendered(lab: LoadedModel, messages: list[Message], thinking: bool, tools: tuple[Tool, ...] = ()) -> str:
    """Return what the chat template makes of a conversation, with one placeholder a medium.

    Raises
    ------
    BadPrompt
        If the checkpoint has no chat template, or the template refuses the messages.
    """
    from jinja2 import TemplateError

    holder = lab.processor if getattr(lab.processor, "chat_template", None) else lab.tokenizer
    if not getattr(holder, "chat_template", None):
        raise BadPrompt(
            f"{lab.name} has no chat template: pre-trained checkpoints only continue text.",
            hint='Load its instruction-tuned sister, whose name ends in "-it".',
        )
    try:
        text: str = holder.apply_chat_template(
            for_template(messages), tools=list(tools) or None, tokenize=False, add_generation_prompt=True,
            enable_thinking=thinking,
        )  # fmt: skip
    except TemplateError as error:
        raise BadPrompt(
            f"The chat template of {lab.name} refuses the messages: {error}",
            hint="Check the order of the roles.",
        ) from error
    return text


def _encoded(
    lab: LoadedModel, text: str, images: tuple[Image, ...], clips: tuple[Video, ...], recordings: tuple[Audio, ...],
    max_soft_tokens: int | None,
) -> Any:  # fmt: skip
    options: dict[str, Any] = {"add_special_tokens": not begins(lab, text), "return_tensors": "pt"}
    most = {} if max_soft_tokens is None else {"max_soft_tokens": max_soft_tokens}
    if images:
        options |= {"images": list(images), "images_kwargs": most}
    if clips:
        _same_length(clips)
        if old_transformers():
            from ..loading.compat_video import repair_videos

            repair_videos(lab.model)
        options |= {
            "videos": [list(clip.frames) for clip in clips],
            # the frames were chosen when the video was opened, and their times are told
            "videos_kwargs": {
                "video_metadata": [clip.metadata() for clip in clips], "do_sample_frames": False,
                "return_metadata": True, **most,
            },
        }  # fmt: skip
    if recordings:
        options |= {
            "audio": [recording.samples for recording in recordings],
            "audio_kwargs": {"sampling_rate": SAMPLE_RATE},
        }
    encoded = lab.processor(text=[text], **options)
    _within_grid(lab, encoded)
    return encoded


def begins(lab: LoadedModel, text: str) -> bool:
    """Return whether a text begins with the token that begins every sequence, so that none is added."""
    return bool(lab.tokenizer.bos_token) and text.startswith(lab.tokenizer.bos_token)


def old_transformers() -> bool:
    """Return whether transformers is older than 5.19, where videos got their present form."""
    import transformers

    return tuple(map(int, transformers.__version__.split(".")[:2])) < (5, 19)


def _same_length(clips: tuple[Video, ...]) -> None:
    """Before 5.19, transformers stacks videos: they must have as many frames."""
    import transformers

    counts = sorted({len(clip.frames) for clip in clips})
    if old_transformers() and len(counts) > 1:
        raise TooOld(
            f"transformers {transformers.__version__} takes several videos only with as many frames each; "
            f"these have {', '.join(map(str, counts))}.",
            hint=f"Upgrade transformers to 5.19, or open each with gemma_lab.load_video(…, frames={counts[0]}).",
        )


def _within_grid(lab: LoadedModel, encoded: Any) -> None:
    """Raise `BadMedia` if a picture has more patches along one side than the model has positions for."""
    vision = getattr(lab.config, "vision_config", None)
    most = getattr(vision, "position_embedding_size", None) or getattr(vision, "mm_posemb_size", None)
    for name in ("image_position_ids", "video_position_ids"):
        grid = encoded.get(name)
        if most and grid is not None and int(grid.max()) >= most:
            raise BadMedia(
                f"A picture is {int(grid.max()) + 1:,} patches long on one side; {lab.name} has positions "
                f"for {most:,}.",
                hint="Lower `max_soft_tokens`, or crop the picture: its sides differ very much.",
            )


def refuse_placeholders(messages: list[Message]) -> None:
    """Raise `BadPrompt` if a text holds the placeholder of a medium."""
    for text in texts(messages):
        for name in _PLACEHOLDERS:
            if name in text:
                raise BadPrompt(
                    f"The text contains {name}, which is where the chat format puts a medium.",
                    hint="Pass media as images=[…], video=… or audio=… and leave the placeholder out.",
                )


def _missing(lab: LoadedModel, kind: str) -> BadMedia:
    """Return the error for a modality that the model lacks, with the sizes that have it."""
    from ...family.catalog import catalog

    nouns = {
        "image": ("pictures", "a vision", "see"),
        "video": ("videos", "a vision", "watch"),
        "audio": ("sounds", "an audio", "hear"),
    }
    noun, tower, verb = nouns[kind]
    having = ", ".join(dict.fromkeys(row.size for row in catalog(modality=kind)))
    return BadMedia(
        f"{lab.name} takes no {noun}: it was loaded without {tower} tower or its processor.",
        hint=f"These can {verb}: {having}.",
    )

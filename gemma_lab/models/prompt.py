"""From a conversation to what the model reads: the template's text, ids, pixels, and whether they fit."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ..errors import BadMedia, BadPrompt, ContextFull
from .messages import for_template, pictures, texts

if TYPE_CHECKING:
    from collections.abc import Sequence

    from PIL.Image import Image

    from .lab import Lab
    from .messages import Message

_PLACEHOLDERS = ("<|image|>", "<|video|>", "<|audio|>")


@dataclass(frozen=True)
class Prompt:
    """A conversation, ready for the model.

    Attributes
    ----------
    messages
        The conversation it was made from.
    text
        What the chat template wrote, before pictures were expanded to soft tokens.
    inputs
        Keyword arguments of the model, on its device; ``input_ids`` is ``(1, tokens)``.
    ids
        The same ids, as a list.
    soft
        How many of them are soft tokens of pictures.
    """

    messages: list[Message]
    text: str
    inputs: dict[str, Any] = field(repr=False)
    ids: list[int] = field(repr=False)
    soft: int = 0


def prepare(lab: Lab, messages: list[Message], *, thinking: bool = False) -> Prompt:
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
    import torch

    images = pictures(messages)
    if images and "image" not in lab.modalities:
        raise _blind(lab)
    _refuse_placeholders(messages)
    text = _rendered(lab, messages, thinking)
    encoded = _encoded(lab, text, images)
    inputs = {
        name: value.to(lab.device, lab.dtype) if torch.is_floating_point(value) else value.to(lab.device)
        for name, value in encoded.items()
        if isinstance(value, torch.Tensor)
    }
    ids = encoded["input_ids"][0].tolist()
    soft = ids.count(getattr(lab.processor, "image_token_id", None)) if images else 0
    prompt = Prompt(messages, text, inputs, ids, soft)
    room(lab, prompt)
    return prompt


def room(lab: Lab, prompt: Prompt) -> int:
    """Return how many tokens the context still holds after the prompt; at least 1.

    Raises
    ------
    ContextFull
        If there is none.
    """
    size = len(prompt.ids)
    if size < lab.context:
        return lab.context - size
    count = len(pictures(prompt.messages))
    seen = f" ({prompt.soft:,} of them for {count} picture{'' if count == 1 else 's'})" if prompt.soft else ""
    over = size + 1 - lab.context
    raise ContextFull(
        f"The prompt is {size:,} tokens{seen} and the context of {lab.name} is {lab.context:,}: with one "
        f"token for an answer that is {over:,} too many.",
        hint="Shorten the text, drop earlier turns or pictures, or load a model with a longer context "
        "(gemma_lab.catalog() lists them).",
    )


def _rendered(lab: Lab, messages: list[Message], thinking: bool) -> str:
    from jinja2 import TemplateError

    holder = lab.processor if getattr(lab.processor, "chat_template", None) else lab.tokenizer
    if not getattr(holder, "chat_template", None):
        raise BadPrompt(
            f"{lab.name} has no chat template: pre-trained checkpoints only continue text.",
            hint='Load its instruction-tuned sister, whose name ends in "-it".',
        )
    try:
        text: str = holder.apply_chat_template(
            for_template(messages), tokenize=False, add_generation_prompt=True, enable_thinking=thinking
        )
    except TemplateError as error:
        raise BadPrompt(
            f"The chat template of {lab.name} refuses the messages: {error}",
            hint="Check the order of the roles.",
        ) from error
    return text


def _encoded(lab: Lab, text: str, images: Sequence[Image]) -> Any:
    begins = bool(lab.tokenizer.bos_token) and text.startswith(lab.tokenizer.bos_token)
    options: dict[str, Any] = {"add_special_tokens": not begins, "return_tensors": "pt"}
    if images:
        options["images"] = list(images)
    return lab.processor(text=[text], **options)


def _refuse_placeholders(messages: list[Message]) -> None:
    for text in texts(messages):
        for name in _PLACEHOLDERS:
            if name in text:
                raise BadPrompt(
                    f"The text contains {name}, which is where the chat format puts a medium.",
                    hint="Pass pictures as images=[…] and leave the placeholder out of the text.",
                )


def _blind(lab: Lab) -> BadMedia:
    from ..family.catalog import catalog

    seeing = ", ".join(dict.fromkeys(row.size for row in catalog(modality="image")))
    why = "was loaded without a vision tower or image processor"
    return BadMedia(f"{lab.name} takes no pictures: it {why}.", hint=f"These can see: {seeing}.")

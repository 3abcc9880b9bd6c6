"""Parts of a trace that follow from its prompt: the token table, and what describes the run."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch

from ..._version import __version__
from ...models.tokens.media_positions import Videos
from ...models.tokens.table import TokenTable

if TYPE_CHECKING:
    from ...models.chat.prompt import Prompt
    from ...models.loading.loaded_model import LoadedModel
    from ..interventions.edit import Edit


def token_table(model: LoadedModel, prompt: Prompt, ids: Sequence[int]) -> TokenTable:
    """Return the table of a prompt's tokens and those after them.

    Parameters
    ----------
    model, prompt
        The model and the prompt as it was read.
    ids
        The tokens of the prompt, then those of the answer that were read.
    """
    return TokenTable.of(
        ids,
        processor=model.processor,
        prompt_length=len(prompt.ids),
        inputs=_outputs(prompt),
        images=prompt.images,
        videos=_videos(prompt),
    )


def with_answer(prompt: Prompt, ids: Sequence[int]) -> Prompt:
    """Return a prompt with more tokens after it, as the model reads it in one sequence.

    Parameters
    ----------
    prompt
        The prompt.
    ids
        Its tokens, then those of the answer.
    """
    given = prompt.inputs["input_ids"]
    inputs = {}
    for name, value in prompt.inputs.items():
        if value.shape == given.shape and name != "input_ids":
            more = value.new_full(
                (1, max(0, len(ids) - given.shape[1])), 1 if name == "attention_mask" else 0
            )
            value = torch.cat([value, more], dim=1)
        inputs[name] = value
    listed = list(ids)
    return replace(prompt, ids=listed, inputs=inputs | {"input_ids": given.new_tensor([listed])})


def run_meta(
    model: LoadedModel, prompt: Prompt, *, edit: Edit, chunks: Sequence[int], length: int
) -> dict[str, Any]:
    """Return what describes a run as JSON values; `docs/trace-format.md` lists the fields.

    Parameters
    ----------
    model, prompt
        The model, and the whole prompt.
    edit
        The edit that was active.
    chunks
        The end of each chunk of the prefill.
    length
        Tokens that were read.
    """
    import transformers

    text = model.text_config
    shape = model.architecture
    prompt_tokens = len(prompt.ids)
    return {
        "model": model.name,
        **({"adapter": dict(model.adapter)} if model.adapter else {}),
        "spec": {
            "model_type": model.config.model_type,
            "layers": int(text.num_hidden_layers),
            "layer_types": list(getattr(text, "layer_types", None) or ["full_attention"] * len(shape.layers)),
            "hidden": int(text.hidden_size),
            "experts": shape.experts or None,
            "top_k": shape.top_k or None,
        },
        "versions": {
            "gemma_lab": __version__,
            "torch": str(torch.__version__),
            "transformers": transformers.__version__,
            "python": platform.python_version(),
        },
        "dtype": str(model.dtype).removeprefix("torch."),
        "device": str(model.device),
        "experts_implementation": getattr(text, "_experts_implementation", None) if shape.experts else None,
        "request": prompt.request.to_meta(),
        "prompt": prompt.text,
        "edit": edit.to_dict() if edit else None,
        "prefill": {
            "prompt_tokens": prompt_tokens,
            "tokens_read": min(length, prompt_tokens),
            "chunks": len(chunks) or 1,
            "complete": length >= prompt_tokens,
        },
    }


def _outputs(prompt: Prompt) -> dict[str, Any]:
    """Return the processor's outputs that locate media, as arrays."""
    named = ("image_position_ids", "video_position_ids", "input_features")
    outputs = {name: prompt.inputs[name].float().cpu().numpy() for name in named if name in prompt.inputs}
    grid = outputs.get("video_position_ids")
    if grid is not None:  # before 5.19, transformers keeps an axis of videos
        outputs["video_position_ids"] = grid.reshape(-1, *grid.shape[-2:])
    return {name: value if name == "input_features" else value.astype(int) for name, value in outputs.items()}


def _videos(prompt: Prompt) -> Videos | None:
    if not prompt.videos:
        return None
    return Videos(
        frames=[len(video.frames) for video in prompt.videos],
        sizes=[video.size for video in prompt.videos],
        seconds=[video.times for video in prompt.videos],
    )

"""The checkpoint of a mini as it ships: bf16 safetensors, tokenizer, processor, generation settings."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from .architecture import encoder_free, new_processor
from .tokenizer import token_id


def write_checkpoint(model: Any, tokenizer: Any, folder: Path) -> None:
    """Write a mini in the layout of the published Gemma 4 checkpoints.

    Parameters
    ----------
    model
        Its weights in float32, which they are again afterwards, rounded to bf16.
    tokenizer
        With the chat template.
    folder
        Created if it does not exist.
    """
    import torch
    import transformers

    settings: Any = transformers.GenerationConfig

    model.to(torch.bfloat16).save_pretrained(folder)
    model.float()
    _make_portable(folder / "config.json")
    new_processor(tokenizer, without_encoders=encoder_free(model.config)).save_pretrained(folder)
    settings(
        do_sample=True, temperature=1.0, top_p=0.95, top_k=64, bos_token_id=token_id("bos_token"),
        pad_token_id=token_id("pad_token"),
        eos_token_id=[token_id("eos_token"), token_id("eot_token"), token_id("str_token")],
    ).save_pretrained(folder)  # fmt: skip


def _make_portable(config: Path) -> None:
    """Remove settings that older releases of transformers name differently.

    The vision encoder's rotary embedding has the default form of its class, whose new name releases before
    5.19 do not know.
    """
    values = json.loads(config.read_text(encoding="utf-8"))
    values["vision_config"].pop("rope_parameters", None)
    config.write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")

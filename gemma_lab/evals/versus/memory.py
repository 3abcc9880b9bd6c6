"""Bytes of a loaded model's weights, by part."""

from __future__ import annotations

import re
from typing import Any

from ...family.parameters import PARAMETER_GROUPS

#: Pattern of a parameter's name → its part; the first that matches.
_PARTS = (
    (r"lora_|modules_to_save", "adapter"),
    (r"\.vision_tower\.|\.embed_vision\.(?!embedding_projection|multimodal_embedder)", "vision"),
    (r"\.embed_vision\.", "vision_projector"),
    (r"\.audio_tower\.", "audio"),
    (r"\.embed_audio\.", "audio_projector"),
    (r"\.experts\.", "experts"),
    (r"\.router\.", "router"),
    (r"norm", "norms"),
    (r"\.embed_tokens_per_layer\.", "ple_table"),
    (r"embed_tokens\.", "embedding"),
    (r"\.per_layer_", "ple"),
    (r"\.self_attn\.", "attention"),
    (r"\.mlp\.", "mlp"),
    (r"lm_head\.", "head"),
)
_NAMES = PARAMETER_GROUPS | {"adapter": "adapter", "drafter": "drafter", "other": "other"}


def part_of(name: str) -> str:
    """Return the part of a model that a parameter or buffer belongs to, by its name."""
    return next((part for pattern, part in _PARTS if re.search(pattern, f".{name}")), "other")


def memory_by_part(lab: Any) -> dict[str, int]:
    """Return the bytes of the parameters and buffers of a loaded model, by part, named as in the family.

    A tensor that two modules share counts once. Weights that accelerate keeps on disk are not counted.
    """
    sizes: dict[str, int] = dict.fromkeys(_NAMES, 0)
    seen: set[int] = set()
    for name, tensor in [*lab.model.named_parameters(), *lab.model.named_buffers()]:
        if id(tensor) in seen or tensor.device.type == "meta":
            continue
        seen.add(id(tensor))
        sizes[part_of(name)] += tensor.numel() * tensor.element_size()
    return {_NAMES[part]: size for part, size in sizes.items() if size}

"""The part of a model that a weight belongs to, by its name in transformers. No torch."""

from __future__ import annotations

import re

#: Pattern of a weight's name → its part, a key of `gemma_lab.family.parameters.PARAMETER_GROUPS`; the first
#: that matches.
_PATTERNS = (
    (r"\.embed_vision\.(embedding_projection|multimodal_embedder)", "vision_projector"),
    (r"\.embed_audio\.", "audio_projector"),
    (r"\.(vision_tower|vision_embedder|embed_vision)\.", "vision"),
    (r"\.audio_tower\.", "audio"),
    (r"\.lm_head\.", "head"),
    (r"\.experts\.", "experts"),
    (r"\.router\.", "router"),
    (r"norm", "norms"),
    (r"\.embed_tokens_per_layer\.", "ple_table"),
    (r"\.embed_tokens\.", "embedding"),
    (r"\.per_layer_", "ple"),
    (r"\.self_attn\.", "attention"),
    (r"\.mlp\.", "mlp"),
)
OTHER = "other"
"""The part of weights that no Gemma 4 has."""


def part_of(name: str) -> str:
    """Return the part of a weight by its name, e.g. ``"model.layers.0.mlp.up_proj.weight"``: ``"mlp"``."""
    return next((part for pattern, part in _PATTERNS if re.search(pattern, f".{name}")), OTHER)

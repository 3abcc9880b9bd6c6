"""Defaults of transformers for the configuration fields that determine the shape of a model.

Copied from the configuration classes of transformers 5.23 (``models/gemma4``, ``models/gemma4_unified``); a
test compares them with the installed ones. Keys: the model types.
"""

from __future__ import annotations

from typing import Any

_UNIFIED_TEXT: dict[str, Any] = {
    "vocab_size": 262_144,
    "hidden_size": 2304,
    "intermediate_size": 9216,
    "num_hidden_layers": 30,
    "num_attention_heads": 8,
    "num_key_value_heads": 4,
    "head_dim": 256,
    "max_position_embeddings": 262_144,
    "tie_word_embeddings": True,
    "sliding_window": 1024,
    "layer_types": None,
    "final_logit_softcapping": None,
    "use_bidirectional_attention": "vision",
    "attention_k_eq_v": False,
    "num_kv_shared_layers": 0,
    "use_double_wide_mlp": False,
}

_TEXT: dict[str, Any] = {
    **_UNIFIED_TEXT,
    "max_position_embeddings": 131_072,
    "sliding_window": 512,
    "use_bidirectional_attention": None,
    "vocab_size_per_layer_input": 262_144,
    "hidden_size_per_layer_input": 256,
    "enable_moe_block": False,
    "num_experts": None,
    "top_k_experts": None,
    "moe_intermediate_size": None,
}

TEXT: dict[str, dict[str, Any]] = {"gemma4_text": _TEXT, "gemma4_unified_text": _UNIFIED_TEXT}
"""Defaults of the decoder."""

VISION: dict[str, dict[str, Any]] = {
    "gemma4": {
        "hidden_size": 768,
        "intermediate_size": 3072,
        "num_hidden_layers": 16,
        "num_attention_heads": 12,
        "num_key_value_heads": 12,
        "head_dim": 64,
        "pooling_kernel_size": 3,
        "patch_size": 16,
        "position_embedding_size": 10_240,
        "use_clipped_linears": False,
        "standardize": False,
    },
    "gemma4_unified": {
        "patch_size": 16,
        "pooling_kernel_size": 3,
        "mm_embed_dim": 3840,
        "mm_posemb_size": 1120,
        "output_proj_dims": 3840,
    },
}
"""Defaults of the vision tower, or of the 12B's patch embedder."""

AUDIO: dict[str, dict[str, Any]] = {
    "gemma4": {
        "hidden_size": 1024,
        "num_hidden_layers": 12,
        "num_attention_heads": 8,
        "subsampling_conv_channels": [128, 32],
        "conv_kernel_size": 5,
        "use_clipped_linears": True,
        "output_proj_dims": 1536,
    },
    "gemma4_unified": {"audio_embed_dim": 640},
}
"""Defaults of the audio tower, or of the 12B's frame embedder."""

"""Architectures of the minis, and the initialisation of their weights.

``mini-moe`` keeps from 26B-A4B: 128 experts, 8 per token, beside a dense branch three times an expert's
width; the 5 local : 1 global layer pattern; K=V in the global layer; bidirectional image blocks; a
standardised vision encoder.

``mini-edge`` keeps from E2B: per-layer embeddings; the 4 local : 1 global pattern; a second half of layers
that share the keys and values of the first and have an MLP of double width; one key-value head; a vision
encoder and an audio encoder with clipped linear layers.

``mini-unified`` keeps from 12B: no encoders, raw patches of 48 × 48 pixels and raw frames of 40 ms instead;
dense layers without per-layer embeddings; two rounds of the 5 local : 1 global pattern; K=V in the global
layers; bidirectional image blocks. Its upper six layers have the attention of mini-moe, so that they can take
its weights; the lower six do what mini-moe's encoder does.
"""

from __future__ import annotations

from typing import Any

from .input_filters import frame_filters, patch_filters
from .tokenizer import token_id

_TEXT: dict[str, Any] = {
    "hidden_size": 128, "sliding_window": 128, "num_attention_heads": 4, "head_dim": 32,
    "global_head_dim": 64, "final_logit_softcapping": 30.0, "initializer_range": 0.08,
}  # fmt: skip
_VISION: dict[str, Any] = {
    "hidden_size": 96, "intermediate_size": 192, "num_hidden_layers": 3, "num_attention_heads": 3,
    "num_key_value_heads": 3, "head_dim": 32, "position_embedding_size": 3360, "initializer_range": 0.08,
}  # fmt: skip
MINI_MOE: dict[str, dict[str, Any] | None] = {
    "text": _TEXT | {
        "intermediate_size": 48, "num_hidden_layers": 6,
        "layer_types": ["sliding_attention"] * 5 + ["full_attention"],
        "num_key_value_heads": 2, "num_global_key_value_heads": 1, "attention_k_eq_v": True,
        "enable_moe_block": True, "num_experts": 128, "top_k_experts": 8, "moe_intermediate_size": 16,
        "use_bidirectional_attention": "vision", "hidden_size_per_layer_input": 0, "num_kv_shared_layers": 0,
        "max_position_embeddings": 262_144,
    },
    "vision": _VISION | {"standardize": True},
    "audio": None,
}  # fmt: skip
MINI_EDGE: dict[str, dict[str, Any] | None] = {
    "text": _TEXT | {
        "intermediate_size": 256, "use_double_wide_mlp": True, "num_hidden_layers": 10,
        "layer_types": (["sliding_attention"] * 4 + ["full_attention"]) * 2,
        "num_key_value_heads": 1, "num_kv_shared_layers": 5, "hidden_size_per_layer_input": 16,
        "max_position_embeddings": 131_072,
    },
    "vision": _VISION | {"use_clipped_linears": True},
    "audio": {
        "hidden_size": 96, "num_hidden_layers": 3, "num_attention_heads": 4, "output_proj_dims": 128,
        # transformers multiplies by the first of these where the count of mel bins is meant
        "subsampling_conv_channels": [128, 8], "initializer_range": 0.08,
    },
}  # fmt: skip
MINI_UNIFIED: dict[str, dict[str, Any] | None] = {
    "text": _TEXT | {
        "intermediate_size": 512, "num_hidden_layers": 12,
        "layer_types": (["sliding_attention"] * 5 + ["full_attention"]) * 2,
        "num_key_value_heads": 2, "num_global_key_value_heads": 1, "attention_k_eq_v": True,
        "use_bidirectional_attention": "vision", "num_kv_shared_layers": 0,
        "max_position_embeddings": 262_144,
    },
    "vision": {"mm_embed_dim": 128, "output_proj_dims": 128},
    "audio": {},
}  # fmt: skip
SHAPES = {"mini-moe": MINI_MOE, "mini-edge": MINI_EDGE, "mini-unified": MINI_UNIFIED}
MINIATURE_OF = {"mini-moe": "26B-A4B", "mini-edge": "E2B", "mini-unified": "12B"}
ENCODER_FREE = ("mini-unified",)
"""Minis whose decoder takes raw patches and frames."""


def mini_config(name: str, vocab_size: int) -> Any:
    """Return a mini's configuration as transformers' ``Gemma4Config`` or ``Gemma4UnifiedConfig``.

    Parameters
    ----------
    name
        A key of `SHAPES`.
    """
    import transformers

    shape, family = SHAPES[name], _family(name in ENCODER_FREE)
    text = (shape["text"] or {}) | {"vocab_size": vocab_size}
    if name not in ENCODER_FREE:
        text["vocab_size_per_layer_input"] = vocab_size
    ids: dict[str, Any] = {
        f"{role}_token_id": token_id(f"{role}_token")
        for role in ("boi", "eoi", "boa", "image", "video", "audio")
    }
    return getattr(transformers, f"{family}Config")(
        text_config=text, vision_config=dict(shape["vision"] or {}),
        audio_config=None if shape["audio"] is None else dict(shape["audio"]),
        eoa_token_index=token_id("eoa_token"), architectures=[f"{family}ForConditionalGeneration"], **ids,
    )  # fmt: skip


def new_model(config: Any, *, seed: int) -> Any:
    """Return a model with random weights that suit Gemma 4's attention.

    Attention has a scale of 1 and RMS-normalised queries and keys. Norm weights of 1 would start it with
    logits whose standard deviation is the root of the head width, close to one-hot noise; weights of
    ``head_dim ** -0.25`` on both give a standard deviation of 1.
    """
    import torch
    import transformers

    torch.manual_seed(seed)
    model: Any = getattr(transformers, config.architectures[0])(config)
    for name, weight in model.named_parameters():
        if name.endswith(("q_norm.weight", "k_norm.weight")):
            weight.data.fill_(weight.numel() ** -0.25)
        elif "language_model.layers" in name and "post_" in name and name.endswith("norm.weight"):
            weight.data.fill_(0.3)
        elif (deviation := _deviation(name, weight, config)) is not None:
            weight.data.normal_(std=deviation)
    if encoder_free(config):
        vision, audio = model.model.embed_vision.patch_dense, model.model.embed_audio.embedding_projection
        vision.weight.data.copy_(torch.from_numpy(patch_filters(*vision.weight.shape)))
        audio.weight.data.copy_(torch.from_numpy(frame_filters(*audio.weight.shape)))
    return model


def _deviation(name: str, weight: Any, config: Any) -> float | None:
    """Return the standard deviation that a new weight is drawn with, or None where transformers' is right."""
    text = config.text_config
    if name.endswith("embed_tokens.weight"):
        return float(text.hidden_size**-0.5)
    if name.endswith("embed_tokens_per_layer.weight"):
        return float(text.hidden_size_per_layer_input**-0.5)
    if name.endswith(("position_embedding_table", "embed_vision.pos_embedding")):
        return 0.5  # of the size of a patch's content, or where it lies drowns in it
    if name.endswith("router.proj.weight"):
        return 1.0  # its input has norm 1: smaller, and it never learns to prefer any
    if name.endswith("experts.down_proj"):
        return float(text.moe_intermediate_size**-0.5)
    keeps_size = "audio_tower" in name and weight.ndim > 1
    keeps_size |= name.endswith("patch_embedder.input_proj.weight")
    keeps_size |= encoder_free(config) and name.endswith("embedding_projection.weight")
    return float((weight.numel() / weight.shape[0]) ** -0.5) if keeps_size else None


def encoder_free(config: Any) -> bool:
    """Return whether a model's decoder takes raw patches and frames, by its configuration."""
    return bool(config.model_type == "gemma4_unified")


def _family(without_encoders: bool) -> str:
    """Return how transformers begins the names of the classes of a kind of model."""
    return "Gemma4Unified" if without_encoders else "Gemma4"


def new_processor(tokenizer: Any, *, without_encoders: bool = False) -> Any:
    """Return the processor of a kind of Gemma 4 with a mini's tokenizer and a limit of 70 soft tokens."""
    import transformers

    family = _family(without_encoders)
    part = {kind: getattr(transformers, f"{family}{kind}") for kind in
            ("Processor", "ImageProcessor", "VideoProcessor", "AudioFeatureExtractor")}  # fmt: skip
    return part["Processor"](
        feature_extractor=part["AudioFeatureExtractor"](),
        image_processor=part["ImageProcessor"](max_soft_tokens=70),
        tokenizer=tokenizer, video_processor=part["VideoProcessor"](max_soft_tokens=70),
        chat_template=tokenizer.chat_template, image_seq_length=70,
    )  # fmt: skip

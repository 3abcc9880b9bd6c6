"""The shape of ``mini-moe``, the miniature of 26B-A4B, and how its weights start.

Kept from the large model: 128 experts with 8 chosen a token beside a dense branch three times an expert's
width, the 5 local : 1 global layer pattern, K=V in the global layer, bidirectional picture blocks, a
standardised vision tower.
"""

from __future__ import annotations

from typing import Any

from .tokenizer import token_id

MINI_MOE_TEXT: dict[str, Any] = {
    "hidden_size": 128, "intermediate_size": 48, "num_hidden_layers": 6,
    "layer_types": ["sliding_attention"] * 5 + ["full_attention"], "sliding_window": 128,
    "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 32,
    "global_head_dim": 64, "num_global_key_value_heads": 1, "attention_k_eq_v": True,
    "enable_moe_block": True, "num_experts": 128, "top_k_experts": 8, "moe_intermediate_size": 16,
    "use_bidirectional_attention": "vision", "hidden_size_per_layer_input": 0, "num_kv_shared_layers": 0,
    "final_logit_softcapping": 30.0, "max_position_embeddings": 262_144, "initializer_range": 0.08,
}  # fmt: skip
MINI_MOE_VISION: dict[str, Any] = {
    "hidden_size": 96, "intermediate_size": 192, "num_hidden_layers": 3, "num_attention_heads": 3,
    "num_key_value_heads": 3, "head_dim": 32, "position_embedding_size": 3360, "standardize": True,
    "initializer_range": 0.08,
}  # fmt: skip


def mini_moe_config(vocab_size: int) -> Any:
    """Return ``mini-moe``'s configuration as transformers' ``Gemma4Config``."""
    from transformers import Gemma4Config

    text = MINI_MOE_TEXT | {"vocab_size": vocab_size, "vocab_size_per_layer_input": vocab_size}
    ids: dict[str, Any] = {
        f"{role}_token_id": token_id(f"{role}_token")
        for role in ("boi", "eoi", "boa", "image", "video", "audio")
    }
    return Gemma4Config(
        text_config=text, vision_config=dict(MINI_MOE_VISION), audio_config=None,
        eoa_token_index=token_id("eoa_token"), architectures=["Gemma4ForConditionalGeneration"], **ids,
    )  # fmt: skip


def new_model(config: Any, *, seed: int) -> Any:
    """Return a model whose random weights suit Gemma 4's attention.

    Attention here has a scale of 1 and RMS-normed queries and keys: norm weights of 1 would start it with
    logits whose standard deviation is the root of the head width, close to one-hot noise. Weights of
    ``head_dim ** -0.25`` on both bring it to 1.
    """
    import torch
    from transformers import Gemma4ForConditionalGeneration

    torch.manual_seed(seed)
    model: Any = Gemma4ForConditionalGeneration(config)
    for name, weight in model.named_parameters():
        if name.endswith(("q_norm.weight", "k_norm.weight")):
            weight.data.fill_(weight.numel() ** -0.25)
        elif "language_model.layers" in name and "post_" in name and name.endswith("layernorm.weight"):
            weight.data.fill_(0.3)
        elif name.endswith("embed_tokens.weight"):
            weight.data.normal_(std=config.text_config.hidden_size**-0.5)
        elif name.endswith("position_embedding_table"):
            weight.data.normal_(std=0.5)  # of the size of a patch's content, or where it lies drowns in it
        elif name.endswith("patch_embedder.input_proj.weight"):
            weight.data.normal_(std=weight.shape[1] ** -0.5)
        elif name.endswith("router.proj.weight"):
            weight.data.normal_(std=1.0)  # its input has norm 1: smaller, and it never learns to prefer any
        elif name.endswith("experts.down_proj"):
            weight.data.normal_(std=config.text_config.moe_intermediate_size**-0.5)
    return model


def new_processor(tokenizer: Any) -> Any:
    """Return the Gemma 4 processor around a mini's tokenizer, at its smallest budget of 70 soft tokens."""
    from transformers import (
        Gemma4AudioFeatureExtractor,
        Gemma4ImageProcessor,
        Gemma4Processor,
        Gemma4VideoProcessor,
    )

    return Gemma4Processor(
        feature_extractor=Gemma4AudioFeatureExtractor(),
        image_processor=Gemma4ImageProcessor(max_soft_tokens=70),
        tokenizer=tokenizer, video_processor=Gemma4VideoProcessor(max_soft_tokens=70),
        chat_template=tokenizer.chat_template, image_seq_length=70,
    )  # fmt: skip

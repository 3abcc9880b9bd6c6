"""Tiny random models of the families that route: Gemma 4 and its neighbours."""

from __future__ import annotations

from typing import Any

import torch


def tiny(family: str, *, seed: int = 0) -> Any:
    """Return a tiny random language model of a family, in eval mode."""
    import transformers as tf

    torch.manual_seed(seed)
    common: dict[str, Any] = {
        "vocab_size": 64, "hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4,
        "num_key_value_heads": 2, "head_dim": 8, "max_position_embeddings": 256, "pad_token_id": 0,
    }  # fmt: skip
    if family == "mixtral":
        made = tf.MixtralForCausalLM(
            tf.MixtralConfig(**common, intermediate_size=48, num_local_experts=6, num_experts_per_tok=2)
        )
    elif family == "olmoe":
        del common["head_dim"]
        made = tf.OlmoeForCausalLM(
            tf.OlmoeConfig(**common, intermediate_size=16, num_experts=12, num_experts_per_tok=3)
        )
    elif family == "gpt_oss":
        made = tf.GptOssForCausalLM(
            tf.GptOssConfig(**common, intermediate_size=32, num_local_experts=8, num_experts_per_tok=2)
        )
    elif family == "qwen3_5_moe":
        made = tf.Qwen3_5MoeForCausalLM(
            tf.Qwen3_5MoeTextConfig(
                **common, layer_types=["linear_attention", "linear_attention", "full_attention"],
                num_experts=10, num_experts_per_tok=4, moe_intermediate_size=16,
                shared_expert_intermediate_size=16, linear_num_key_heads=2, linear_num_value_heads=4,
                linear_key_head_dim=8, linear_value_head_dim=8,
            )
        )  # fmt: skip
    else:
        raise ValueError(family)
    with torch.no_grad():
        for name, weight in made.named_parameters():
            if name.endswith(("gate.weight", "router.weight")):
                weight.normal_(std=1.0)  # several families start at zero: every choice a tie
    return made.eval()


NEIGHBOURS = ("mixtral", "olmoe", "gpt_oss", "qwen3_5_moe")


def hooks(model: torch.nn.Module) -> dict[str, dict[int, Any]]:
    """Return every hook of every module, by module and kind, in the order in which they run."""
    found = {
        f"{name} {kind}": dict(getattr(module, kind))
        for name, module in model.named_modules()
        for kind in ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_forward_hooks_with_kwargs")
    }
    return {where: held for where, held in found.items() if held}

"""Architecture of a mini's drafter, and its initial weights.

It is Gemma 4's assistant (``Gemma4AssistantForCausalLM``) at the width of its mini: local layers and then a
global one, all of which read the keys and values of the mini's own last layers. The family's drafters have
four layers; a mini has so few layers of its own that two are as many as pay.
"""

from __future__ import annotations

from typing import Any

BASES = {"mini-moe-assistant": "mini-moe"}
"""Drafter → the mini that it drafts for."""
DRAFT_TOKENS = 4
"""Tokens that a published drafter proposes per step, unless it is told otherwise."""
_LAYERS = ["sliding_attention", "full_attention"]
_WIDEN = 2  # width of the feed-forward block, in widths of the layer
_POST_NORM = 0.3  # initial weight of the norms after a block, as in the minis


def drafter_config(base: Any) -> Any:
    """Return the configuration of a drafter as transformers' ``Gemma4AssistantConfig``.

    Parameters
    ----------
    base
        The mini's configuration.
    """
    from transformers import Gemma4AssistantConfig

    text = base.get_text_config()
    layers = text.per_layer_config
    local, whole = (layers[text.layer_types.index(kind)] for kind in ("sliding_attention", "full_attention"))
    return Gemma4AssistantConfig(
        text_config={
            "model_type": "gemma4_text",
            "hidden_size": text.hidden_size,
            "intermediate_size": _WIDEN * text.hidden_size,
            "num_hidden_layers": len(_LAYERS),
            "num_kv_shared_layers": len(_LAYERS),
            "layer_types": _LAYERS,
            "num_attention_heads": text.num_attention_heads,
            "head_dim": local.head_dim,
            "global_head_dim": whole.head_dim,
            "num_key_value_heads": local.num_key_value_heads,
            "num_global_key_value_heads": whole.num_key_value_heads,
            "attention_k_eq_v": text.attention_k_eq_v,
            "sliding_window": text.sliding_window,
            "rope_parameters": dict(text.rope_parameters),
            "max_position_embeddings": text.max_position_embeddings,
            "vocab_size": text.vocab_size,
            "hidden_size_per_layer_input": 0,
            "vocab_size_per_layer_input": 0,
            "initializer_range": text.initializer_range,
            "bos_token_id": text.bos_token_id,
            "eos_token_id": text.eos_token_id,
            "pad_token_id": text.pad_token_id,
        },
        backbone_hidden_size=text.hidden_size,
        tie_word_embeddings=True,
    )


def new_drafter(base: Any, *, seed: int) -> Any:
    """Return a drafter that starts from its mini's embeddings.

    Embedding table and head are the mini's, and the two projections start as near-identities of the hidden
    state, so that the first drafts already come from what the mini computed.

    Parameters
    ----------
    base
        The mini, a model of transformers.
    seed
        Of the other weights.
    """
    import torch
    from transformers import Gemma4AssistantForCausalLM

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        drafter: Any = Gemma4AssistantForCausalLM(drafter_config(base.config))
        width = drafter.hidden_size
        for name, weight in drafter.named_parameters():
            if name.endswith("q_norm.weight"):
                weight.data.fill_(
                    weight.numel() ** -0.25
                )  # as the minis start: logits of standard deviation 1
            elif "post_" in name and name.endswith("norm.weight"):
                weight.data.fill_(_POST_NORM)
        with torch.no_grad():
            drafter.lm_head.weight.copy_(base.get_output_embeddings().weight)
            drafter.pre_projection.weight.normal_(std=0.02)
            drafter.pre_projection.weight[:, width:] += torch.eye(width)
            drafter.post_projection.weight.normal_(std=0.02)
            drafter.post_projection.weight += torch.eye(width)
        drafter.tie_weights()
    drafter.generation_config.num_assistant_tokens = DRAFT_TOKENS
    drafter.generation_config.num_assistant_tokens_schedule = "constant"
    return drafter

"""Shapes of other decoders of transformers, as far as the memory of a prefill depends on them.

Gemma 3, Qwen3, Llama and others share the names of their configuration's fields. What this reads is a text
decoder with its own keys and values in every layer; a layer is local only where ``layer_types`` marks it so,
so memory is never underestimated.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..errors import NotGemma4
from .architecture import Architecture, Layer


def from_decoder_config(text: Mapping[str, Any], *, name: str = "") -> Architecture:
    """Return the architecture of a text decoder of another family.

    Parameters
    ----------
    text
        The configuration of its text decoder, as ``PreTrainedConfig.to_dict`` returns it.
    name
        The model's name. Default: the model type.

    Raises
    ------
    NotGemma4
        If the configuration lacks a field that decoders have.
    """
    kind = str(text.get("model_type"))
    needed = (
        "num_hidden_layers",
        "hidden_size",
        "vocab_size",
        "max_position_embeddings",
        "num_attention_heads",
    )
    missing = [field for field in needed if not text.get(field)]
    if missing:
        raise NotGemma4(
            f"A configuration of type {kind!r} has no {missing[0]}: it is not a text decoder.",
            hint="Use a Gemma 4, or a decoder of transformers with these fields, such as Gemma 3 or Llama.",
        )
    heads = text["num_attention_heads"]
    experts = text.get("num_experts") or text.get("num_local_experts") or 0
    width = text.get("intermediate_size") or 0
    types = text.get("layer_types") or ["full_attention"] * text["num_hidden_layers"]
    window = text.get("sliding_window")
    layers = []
    for index, layer_type in enumerate(types):
        local = layer_type == "sliding_attention" and bool(window)
        layers.append(
            Layer(
                index=index,
                kind="local" if local else "global",
                window=window if local else None,
                heads=heads,
                kv_heads=text.get("num_key_value_heads") or heads,
                head_dim=text.get("head_dim") or text["hidden_size"] // heads,
                tied_kv=False,
                kv_shared_from=None,
                mlp_width=width,
                experts=experts,
                top_k=(text.get("num_experts_per_tok") or 0) if experts else 0,
                expert_width=(text.get("moe_intermediate_size") or width) if experts else 0,
            )
        )
    return Architecture(
        name=name or kind,
        model_type=kind,
        hidden=text["hidden_size"],
        vocabulary=text["vocab_size"],
        context=text["max_position_embeddings"],
        layers=tuple(layers),
        ple_width=0,
        ple_vocabulary=0,
        tied_embeddings=bool(text.get("tie_word_embeddings")),
        softcap=text.get("final_logit_softcapping"),
        bidirectional=(),
        vision=None,
        audio=None,
    )

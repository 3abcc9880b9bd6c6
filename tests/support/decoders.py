"""Tiny random decoders of other families, as transformers builds them."""

from __future__ import annotations

from typing import Any

import torch

DECODERS = ("llama", "qwen3", "gemma3")


def tiny_decoder(family: str, *, seed: int = 0) -> Any:
    """Return a tiny random language model of a family, in eval mode."""
    import transformers as tf

    torch.manual_seed(seed)
    common: dict[str, Any] = {
        "vocab_size": 64, "hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4,
        "num_key_value_heads": 2, "head_dim": 8, "intermediate_size": 48, "max_position_embeddings": 256,
        "pad_token_id": 0, "initializer_range": 0.2,
    }  # fmt: skip
    if family == "llama":
        return tf.LlamaForCausalLM(tf.LlamaConfig(**common)).eval()
    if family == "qwen3":
        return tf.Qwen3ForCausalLM(tf.Qwen3Config(**common)).eval()
    if family == "gemma3":
        kinds = ["sliding_attention", "sliding_attention", "full_attention"]
        config = tf.Gemma3TextConfig(**common, layer_types=kinds, sliding_window=8, query_pre_attn_scalar=8)
        return tf.Gemma3ForCausalLM(config).eval()
    raise ValueError(family)


def word_tokenizer() -> Any:
    """Return a tokenizer whose 64 tokens are the words ``w0`` to ``w59`` and four special ones."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    words = ["<pad>", "<unk>", "<s>", "</s>", *(f"w{number}" for number in range(60))]
    made = Tokenizer(models.WordLevel({word: index for index, word in enumerate(words)}, unk_token="<unk>"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    return PreTrainedTokenizerFast(
        tokenizer_object=made, pad_token="<pad>", unk_token="<unk>", bos_token="<s>", eos_token="</s>"
    )

"""Tiny random checkpoints of all five Gemma 4 shapes, saved the way real ones are.

Each starts from the true configuration in ``gemma_lab/family/data/configs`` and shrinks its widths and depth;
what makes the shape what it is stays: the local/global pattern, the KV-shared tail, per-layer embeddings,
the double-wide MLP, K=V global layers, 128 experts top-8, clipped linears, the towers or the embedders.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import gemma_lab

SIZES = ("E2B", "E4B", "12B", "26B-A4B", "31B")
HEARS = ("E2B", "E4B", "12B")

_CONFIGS = Path(gemma_lab.__file__).parent / "family" / "data" / "configs"
#: role in Gemma's tokenizer -> token; the ids are small here, the order is Gemma's
_SPECIAL = {
    "pad_token": "<pad>", "eos_token": "<eos>", "bos_token": "<bos>", "unk_token": "<unk>",
    "mask_token": "<mask>", "std_token": "<|tool>", "etd_token": "<tool|>", "stc_token": "<|tool_call>",
    "etc_token": "<tool_call|>", "str_token": "<|tool_response>", "etr_token": "<tool_response|>",
    "escape_token": '<|"|>', "think_token": "<|think|>", "soc_token": "<|channel>", "eoc_token": "<channel|>",
    "sot_token": "<|turn>", "eot_token": "<turn|>",
    "boi_token": "<|image>", "boa_token": "<|audio>", "image_token": "<|image|>", "audio_token": "<|audio|>",
    "eoi_token": "<image|>", "eoa_token": "<audio|>", "video_token": "<|video|>",
}  # fmt: skip
_TEMPLATE = """{{ bos_token }}{% for m in messages %}<|turn>{{ 'model' if m.role == 'assistant' else m.role }}
{% if loop.first and m.role == 'system' and enable_thinking %}<|think|>
{% endif %}{% if m.content is string %}{{ m.content | trim }}{% else %}{% for part in m.content %}\
{% if part.type == 'text' %}{{ part.text | trim }}{% else %}<|{{ part.type }}|>{% endif %}\
{% endfor %}{% endif %}<turn|>
{% endfor %}{% if add_generation_prompt %}<|turn>model
{% endif %}"""


def special_ids() -> dict[str, int]:
    """Return the id of each special token's role."""
    return {role: number for number, role in enumerate(_SPECIAL)}


def tiny_tokenizer() -> Any:
    """Return a GemmaTokenizer of special tokens, 256 byte pieces and printable ASCII."""
    from transformers import GemmaTokenizer

    vocabulary = {token: number for number, token in enumerate(_SPECIAL.values())}
    for piece in [f"<0x{byte:02X}>" for byte in range(256)] + ["▁", "\n"] + [chr(c) for c in range(33, 127)]:
        vocabulary[piece] = len(vocabulary)
    named = dict(list(_SPECIAL.items())[:5])  # the roles every tokenizer has
    extra = dict(list(_SPECIAL.items())[5:])
    return GemmaTokenizer(vocab=vocabulary, merges=[], **named, extra_special_tokens=extra)


def tiny_config(size: str) -> Any:
    """Return the shrunk configuration of one size as transformers' own config object."""
    from transformers import AutoConfig

    true: dict[str, Any] = json.loads((_CONFIGS / f"{size}.json").read_text())
    true["text_config"] = _shrink_text(true["text_config"])
    true["vision_config"] = _shrink_vision(true["vision_config"])
    if size in ("E2B", "E4B"):
        # the first channel count must stay: the true code multiplies by it where mel bins are meant
        true["audio_config"] |= {
            "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "output_proj_dims": 48,
            "subsampling_conv_channels": [128, 4],
        }  # fmt: skip
    for part in (true, true["text_config"], true["vision_config"], true["audio_config"] or {}):
        part.pop("dtype", None)  # a model built from the configuration, not loaded, would take it for a wish
    ids = special_ids()
    for role in ("boi", "boa", "image", "audio", "video"):
        true[f"{role}_token_id"] = ids[f"{role}_token"]
    true |= {"eoi_token_id": ids["eoi_token"], "eoa_token_index": ids["eoa_token"]}
    true["eos_token_id"] = [ids["eos_token"], ids["eot_token"], ids["str_token"]]
    return AutoConfig.for_model(**true)


def _shrink_text(text: dict[str, Any]) -> dict[str, Any]:
    pattern = text["layer_types"][: text["layer_types"].index("full_attention") + 1]
    shared = bool(text["num_kv_shared_layers"])
    layers = pattern * (2 if shared else 1)
    small = {
        "hidden_size": 64, "intermediate_size": 96, "num_attention_heads": 4, "vocab_size": 512,
        "head_dim": 16, "global_head_dim": 32, "sliding_window": 16, "max_position_embeddings": 4096,
        "layer_types": layers, "num_hidden_layers": len(layers),
        "num_kv_shared_layers": len(pattern) if shared else 0,
        "num_key_value_heads": min(2, text["num_key_value_heads"]),
    }  # fmt: skip
    if text["num_global_key_value_heads"]:
        small["num_global_key_value_heads"] = 1
    if text.get("hidden_size_per_layer_input"):
        small |= {"hidden_size_per_layer_input": 8}
    if "vocab_size_per_layer_input" in text:
        small |= {"vocab_size_per_layer_input": 512}
    if text.get("enable_moe_block"):
        small |= {"moe_intermediate_size": 16}
    return text | small


def _shrink_vision(vision: dict[str, Any]) -> dict[str, Any]:
    if vision["model_type"] == "gemma4_unified_vision":
        return vision | {"mm_embed_dim": 64, "output_proj_dims": 64, "mm_posemb_size": 128}
    return vision | {
        "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 2,
        "num_key_value_heads": 2, "head_dim": 16, "position_embedding_size": 256,
    }  # fmt: skip


def tiny_model(size: str, *, seed: int = 0) -> Any:
    """Return the model of `tiny_config(size)` with random float32 weights that a seed repeats."""
    import torch
    import transformers

    config = tiny_config(size)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = getattr(transformers, config.architectures[0])(config)
        # Fresh norms and scales are ones: stir them, or a loader that skips them goes unseen.
        for parameter in model.parameters():
            parameter.data += 0.02 * torch.randn_like(parameter)
        for name, buffer in model.named_buffers():
            if name.endswith(("layer_scalar", "std_bias", "std_scale")):
                buffer += 0.02 * torch.randn_like(buffer)
    ids = special_ids()
    model.generation_config.eos_token_id = [ids["eos_token"], ids["eot_token"], ids["str_token"]]
    model.generation_config.pad_token_id = ids["pad_token"]
    model.generation_config.bos_token_id = ids["bos_token"]
    return model.eval()


def tiny_processor(size: str) -> Any:
    """Return the processor of one size: 70 soft tokens a picture, so that tests are quick."""
    import transformers

    family = "Gemma4Unified" if size == "12B" else "Gemma4"
    max_soft_tokens = {"patch_size": 16, "pooling_kernel_size": 3, "max_soft_tokens": 70}
    part = {kind: getattr(transformers, f"{family}{kind}") for kind in
            ("Processor", "ImageProcessor", "VideoProcessor", "AudioFeatureExtractor")}  # fmt: skip
    return part["Processor"](
        # transformers demands an extractor of 26B and 31B too, which have no audio tower to use it
        feature_extractor=part["AudioFeatureExtractor"](),
        image_processor=part["ImageProcessor"](**max_soft_tokens),
        video_processor=part["VideoProcessor"](**max_soft_tokens, num_frames=4),
        tokenizer=tiny_tokenizer(),
        chat_template=_TEMPLATE,
        image_seq_length=70,
    )


def tiny_checkpoint(size: str, folder: Path, *, seed: int = 0, dtype: str = "float32", **saving: Any) -> Path:
    """Save a tiny random checkpoint of one shape with its tokenizer and processor.

    Parameters
    ----------
    size
        One of `SIZES`.
    folder
        Where to; it is made.
    seed
        Of the weights.
    dtype
        Of the weights in the file.
    saving
        For ``save_pretrained``, e.g. ``max_shard_size="100KB"``.

    Returns
    -------
    Path
        `folder`.
    """
    import torch

    folder.mkdir(parents=True, exist_ok=True)
    tiny_model(size, seed=seed).to(getattr(torch, dtype)).save_pretrained(folder, **saving)
    tiny_processor(size).save_pretrained(folder)
    return folder


def tiny_text_checkpoint(size: str, folder: Path, *, seed: int = 0) -> Path:
    """Save the text decoder of one shape alone (config ``gemma4_text``), with its tokenizer."""
    import torch
    import transformers

    whole = tiny_model(size, seed=seed)
    name = "Gemma4UnifiedForCausalLM" if size == "12B" else "Gemma4ForCausalLM"
    model = getattr(transformers, name)(whole.config.get_text_config()).eval()
    model.model.load_state_dict(whole.model.language_model.state_dict())
    with torch.no_grad():
        model.lm_head.weight.copy_(whole.lm_head.weight)
    model.generation_config = whole.generation_config
    model.save_pretrained(folder)
    tokenizer = tiny_tokenizer()
    tokenizer.chat_template = _TEMPLATE
    tokenizer.save_pretrained(folder)
    return folder

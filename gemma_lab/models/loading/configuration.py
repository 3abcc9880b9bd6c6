"""Check a checkpoint's configuration field by field, before anything is built from it.

Only what would make transformers fail without naming the field, or build without end, is checked: types and
ranges of numbers, and numbers that depend on each other. What transformers checks itself is left to it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ...checks import short_repr
from ...errors import BadCheckpoint

#: Upper bound of widths, counts of tokens and the like: products of two stay below 2⁶³.
_MAX = 1 << 30
_MAX_LAYERS = 1024
#: Sizes in tokens that only bound what is computed later: no tensor has them.
_UNBOUNDED = ("max_position_embeddings", "sliding_window", "vision_soft_tokens_per_image")
_COUNTS = (
    "hidden_size",
    "intermediate_size",
    "num_attention_heads",
    "num_key_value_heads",
    "head_dim",
    "global_head_dim",
    "num_global_key_value_heads",
    "vocab_size",
    "vocab_size_per_layer_input",
    "moe_intermediate_size",
    "num_experts",
    "top_k_experts",
    "position_embedding_size",
    "patch_size",
    "pooling_kernel_size",
    "mm_embed_dim",
    "mm_posemb_size",
    "output_proj_dims",
    "audio_embed_dim",
    "conv_kernel_size",
    "attention_chunk_size",
    *_UNBOUNDED,
)
#: Fields that may be 0, that is, absent from the model.
_FROM_ZERO = (
    "num_kv_shared_layers",
    "hidden_size_per_layer_input",
    "attention_context_left",
    "attention_context_right",
)
_POSITIVE = (
    "rms_norm_eps",
    "rope_theta",
    "final_logit_softcapping",
    "partial_rotary_factor",
    "attention_logit_cap",
)
_FLAGS = (
    "attention_bias",
    "attention_k_eq_v",
    "enable_moe_block",
    "use_double_wide_mlp",
    "tie_word_embeddings",
    "use_clipped_linears",
    "standardize",
)
_ALWAYS_SET = (
    "hidden_size",
    "intermediate_size",
    "num_hidden_layers",
    "num_attention_heads",
    "num_key_value_heads",
    "head_dim",
    "vocab_size",
)
_SECTIONS = ("text_config", "vision_config", "audio_config")
_LAYER_TYPES = ("sliding_attention", "full_attention")
_HINT = "Compare config.json with that of the original model, or download the checkpoint again."


def check_configuration(config: Mapping[str, Any], folder: Path) -> None:
    """Raise `BadCheckpoint`, naming the field, if no model can be built from a configuration.

    Parameters
    ----------
    config
        The checkpoint's ``config.json``. Fields that are missing or null are left to transformers' defaults.
    folder
        Of the checkpoint, for the error.
    """
    for field, value, problem in _problems(config):
        raise BadCheckpoint(
            f"{folder / 'config.json'}: {field} is {short_repr(value)}; {problem}.", hint=_HINT
        )


def _problems(config: Mapping[str, Any]) -> Iterator[tuple[str, Any, str]]:
    """Yield the name, the value and what is wrong with it, of each field that is."""
    text_only = str(config.get("model_type", "")).endswith("_text")
    for section in _SECTIONS:
        value = config.get(section)
        if section in config and not (value is None or isinstance(value, Mapping)):
            yield section, value, "it must be an object"
    if not text_only and not config.get("text_config"):
        yield "text_config", config.get("text_config"), "it must describe the decoder"
    yield from _section("", config)
    for section in _SECTIONS:
        if isinstance(config.get(section), Mapping):
            yield from _section(f"{section}.", config[section])
    text = config if text_only else config.get("text_config") or {}
    yield from _decoder("" if text_only else "text_config.", text)


def _section(prefix: str, fields: Mapping[str, Any]) -> Iterator[tuple[str, Any, str]]:
    layers = {"num_hidden_layers": (1, _MAX_LAYERS)}
    ranges = dict.fromkeys(_COUNTS, (1, _MAX)) | dict.fromkeys(_FROM_ZERO, (0, _MAX)) | layers
    for name, (low, high) in ranges.items():
        value = fields.get(name)
        if value is not None and not (type(value) is int and low <= value <= high):
            yield prefix + name, value, f"it must be a whole number from {low} to {high:,}"
    for name in _FLAGS:
        value = fields.get(name)
        if value is not None and not isinstance(value, bool):
            yield prefix + name, value, "it must be true or false"
    yield from _positive_numbers(prefix, fields)
    for name in ("rope_parameters", "per_layer_config"):
        parts = fields.get(name)
        if parts is not None and not isinstance(parts, Mapping):
            yield prefix + name, parts, "it must be an object"
        for key, part in (parts or {}).items():
            if isinstance(part, Mapping):
                yield from _section(f"{prefix}{name}.{key}.", part)
    heads, groups = fields.get("num_attention_heads"), fields.get("num_key_value_heads")
    if heads and groups and heads % groups:
        yield prefix + "num_key_value_heads", groups, f"it must divide num_attention_heads, {heads}"


def _positive_numbers(prefix: str, fields: Mapping[str, Any]) -> Iterator[tuple[str, Any, str]]:
    for name in _POSITIVE:
        value = fields.get(name)
        number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
        if value is not None and not (number and value > 0):
            yield prefix + name, value, "it must be a number above 0"


def _decoder(prefix: str, fields: Mapping[str, Any]) -> Iterator[tuple[str, Any, str]]:
    """Yield what is wrong among the fields of the decoder that depend on each other."""
    layers, kinds = fields.get("num_hidden_layers"), fields.get("layer_types")
    if kinds is not None:
        if not isinstance(kinds, list) or any(kind not in _LAYER_TYPES for kind in kinds):
            yield prefix + "layer_types", kinds, f"it must be a list of {' and '.join(_LAYER_TYPES)}"
        elif layers is not None and len(kinds) != layers:
            yield prefix + "layer_types", len(kinds), f"it must have num_hidden_layers entries, {layers}"
    shared = fields.get("num_kv_shared_layers")
    if shared and layers and shared >= layers:
        yield prefix + "num_kv_shared_layers", shared, f"it must be below num_hidden_layers, {layers}"
    if fields.get("enable_moe_block"):
        for name in ("num_experts", "top_k_experts", "moe_intermediate_size"):
            if fields.get(name) is None:
                yield prefix + name, None, "a model with experts needs it"
        if (fields.get("top_k_experts") or 0) > (fields.get("num_experts") or math.inf):
            experts = fields.get("num_experts")
            yield prefix + "top_k_experts", fields["top_k_experts"], f"there are {experts} experts"


def fields_with(config: Mapping[str, Any], sizes: set[int]) -> list[str]:
    """Return the fields of a configuration that have one of some sizes, as ``name = value``, for an error.

    Of the decoder's fields that every configuration sets, those that are missing are named, too.
    """
    found = []
    for section in ("", *_SECTIONS):
        fields = config.get(section) if section else config
        for name, value in (fields or {}).items():
            if name in (*_COUNTS, *_FROM_ZERO, "num_hidden_layers") and value in sizes:
                found.append(f"{f'{section}.{name}'.lstrip('.')} = {value}")
    text = config.get("text_config") or config
    return found + [f"no {name}" for name in _ALWAYS_SET if name not in text]

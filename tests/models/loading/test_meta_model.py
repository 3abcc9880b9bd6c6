"""The skeletons are transformers' own models, and the counts of `family.parameters` are theirs."""

from __future__ import annotations

import re
from collections import Counter

import pytest
import torch

from gemma_lab.errors import NotGemma4
from gemma_lab.family.architecture import SIZES, from_config, get_architecture
from gemma_lab.family.defaults import AUDIO, TEXT, VISION
from gemma_lab.family.parameters import PARAMETER_GROUPS, count_parameters, stored
from gemma_lab.models.loading.meta_model import meta_model

RULES = (
    (r"\.vision_tower\.|\.embed_vision\.(?!embedding_projection|multimodal_embedder)", "vision"),
    (r"\.embed_vision\.", "vision_projector"),
    (r"\.audio_tower\.", "audio"),
    (r"\.embed_audio\.", "audio_projector"),
    (r"norm", "norms"),
    (r"\.embed_tokens\.", "embedding"),
    (r"\.embed_tokens_per_layer\.", "ple_table"),
    (r"\.per_layer_", "ple"),
    (r"\.self_attn\.", "attention"),
    (r"\.mlp\.", "mlp"),
    (r"\.experts\.", "experts"),
    (r"\.router\.", "router"),
    (r"^lm_head\.", "head"),
)


def part_of(name: str) -> str:
    """The part that a parameter's name belongs to: an independent reading of transformers' module tree."""
    return next(part for pattern, part in RULES if re.search(pattern, name))


@pytest.fixture(scope="module", params=SIZES)
def size(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def model(size: str) -> torch.nn.Module:
    return meta_model(size)


def test_nothing_is_stored(model: torch.nn.Module) -> None:
    assert {p.device.type for p in model.parameters()} == {"meta"}
    assert {p.dtype for p in model.parameters()} == {torch.bfloat16}


def test_every_part_is_counted_exactly(model: torch.nn.Module, size: str) -> None:
    found = Counter[str]()
    for name, parameter in model.named_parameters():
        found[part_of(name)] += parameter.numel()
    counted = count_parameters(get_architecture(size))
    assert {part: found[part] for part in PARAMETER_GROUPS if found[part]} == counted.parts
    assert counted.total == sum(p.numel() for p in model.parameters())
    assert counted.text == sum(p.numel() for p in model.model.language_model.parameters())


def test_what_a_checkpoint_stores_is_the_parameters_and_the_saved_buffers(
    model: torch.nn.Module, size: str
) -> None:
    saved = {name: tensor for name, tensor in model.state_dict().items() if name != "lm_head.weight"}  # tied
    assert stored(get_architecture(size)) == sum(tensor.numel() for tensor in saved.values())


def test_layers_are_what_the_model_says(model: torch.nn.Module, size: str) -> None:
    for layer, module in zip(get_architecture(size).layers, model.model.language_model.layers, strict=True):
        attention = module.self_attn
        assert (layer.kind == "local") == attention.is_sliding
        assert layer.window == attention.sliding_window
        assert layer.head_dim == attention.head_dim
        assert layer.heads // layer.kv_heads == attention.num_key_value_groups
        assert (layer.kv_shared_from is not None) == attention.is_kv_shared_layer
        assert layer.mlp_width == module.mlp.intermediate_size
        if layer.kv_shared_from is None:
            assert layer.tied_kv == (attention.v_proj is None)
            assert attention.k_proj.out_features == layer.kv_heads * layer.head_dim
        if layer.experts:
            assert module.experts.num_experts == layer.experts


def test_a_configuration_saved_by_transformers_gives_the_same_architecture(
    model: torch.nn.Module, size: str
) -> None:
    saved = model.config.to_dict()
    assert "per_layer_config" in saved["text_config"]
    again = from_config(saved, name=size)
    assert again.layers == get_architecture(size).layers
    assert count_parameters(again) == count_parameters(get_architecture(size))
    assert repr(again) == repr(get_architecture(size))


def test_no_field_of_a_configuration_is_unknown_to_transformers(model: torch.nn.Module) -> None:
    """A misspelt field would be kept silently as an extra attribute, and the default used instead."""
    from gemma_lab.family.architecture import configuration

    known_aliases = {
        "global_head_dim",
        "num_global_key_value_heads",
        "vision_soft_tokens_per_image",
        "eos_token_id",
    }
    size = next(
        s
        for s in SIZES
        if configuration(s)["text_config"]["hidden_size"] == model.config.text_config.hidden_size
    )
    config = configuration(size)
    for part in (None, "text_config", "vision_config", "audio_config"):
        given = config if part is None else config[part]
        if given is None:
            continue
        theirs = model.config if part is None else getattr(model.config, part)
        fresh = type(theirs)().to_dict()
        unknown = set(given) - set(fresh) - known_aliases - {"head_dim", "num_key_value_heads"}
        assert not unknown, (part, unknown)


def test_the_defaults_are_the_installed_ones() -> None:
    from transformers import Gemma4Config, Gemma4UnifiedConfig

    for kind, config in {"gemma4": Gemma4Config, "gemma4_unified": Gemma4UnifiedConfig}.items():
        whole = config(text_config={}, vision_config={}, audio_config={})
        for kit, theirs in (
            (TEXT[f"{kind}_text"], whole.text_config),
            (VISION[kind], whole.vision_config),
            (AUDIO[kind], whole.audio_config),
        ):
            fresh = theirs.to_dict()
            expected = {key: fresh[key] for key in kit if key != "layer_types"}
            assert {key: value for key, value in kit.items() if key != "layer_types"} == expected


def test_an_unknown_size_is_refused_with_the_known_ones() -> None:
    with pytest.raises(NotGemma4, match="no Gemma 4 size '27B'") as caught:
        meta_model("27B")
    assert "26B-A4B" in caught.value.hint

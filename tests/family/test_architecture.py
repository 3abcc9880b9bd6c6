"""Layers, donors, windows and heads of the five sizes, and configurations of other shapes."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from gemma_lab.errors import NotGemma4
from gemma_lab.family.architecture import SIZES, configuration, from_config, get_architecture

# (layers, local, global, window, heads, local K/V heads, global K/V heads, hidden, context)
SHAPES = {
    "E2B": (35, 28, 7, 512, 8, 1, 1, 1536, 131_072),
    "E4B": (42, 35, 7, 512, 8, 2, 2, 2560, 131_072),
    "12B": (48, 40, 8, 1024, 16, 8, 1, 3840, 262_144),
    "26B-A4B": (30, 25, 5, 1024, 16, 8, 2, 2816, 262_144),
    "31B": (60, 50, 10, 1024, 32, 16, 4, 5376, 262_144),
}


@pytest.mark.parametrize("size", SIZES)
def test_the_shape_of_each_size(size: str) -> None:
    shape = get_architecture(size)
    local = next(layer for layer in shape.layers if layer.kind == "local")
    last = shape.layers[-1]
    assert last.kind == "global"
    found = (len(shape.layers), shape.kinds["local"], shape.kinds["global"], shape.window, local.heads)
    assert (*found, local.kv_heads, last.kv_heads, shape.hidden, shape.context) == SHAPES[size]
    assert (local.head_dim, last.head_dim) == (256, 512)
    assert last.window is None


def test_donors_are_the_last_layers_that_own_a_cache() -> None:
    for size, first, local, globally in (("E2B", 15, 13, 14), ("E4B", 24, 22, 23)):
        for layer in get_architecture(size).layers:
            expected = None if layer.index < first else local if layer.kind == "local" else globally
            assert layer.kv_shared_from == expected, (size, layer.index)
    for size in ("12B", "26B-A4B", "31B"):
        assert get_architecture(size).owners == get_architecture(size).layers


def test_only_the_shared_layers_of_e2b_are_double_wide() -> None:
    layers = get_architecture("E2B").layers
    assert {layer.mlp_width for layer in layers if layer.kv_shared_from is None} == {6144}
    assert {layer.mlp_width for layer in layers if layer.kv_shared_from is not None} == {12_288}
    assert {layer.mlp_width for layer in get_architecture("E4B").layers} == {10_240}


def test_one_projection_for_keys_and_values_only_in_global_layers_of_the_large_sizes() -> None:
    for size in SIZES:
        tied = {layer.kind for layer in get_architecture(size).layers if layer.tied_kv}
        assert tied == (set() if size in ("E2B", "E4B") else {"global"})


def test_experts_are_in_every_layer_of_26b_and_nowhere_else() -> None:
    layers = get_architecture("26B-A4B").layers
    assert {(layer.experts, layer.top_k, layer.expert_width) for layer in layers} == {(128, 8, 704)}
    assert all(get_architecture(size).experts == 0 for size in SIZES if size != "26B-A4B")


def test_where_images_are_read_in_both_directions() -> None:
    found = {size: get_architecture(size).bidirectional for size in SIZES}
    local, both = ("local",), ("local", "global")
    assert found == {"E2B": (), "E4B": (), "12B": both, "26B-A4B": local, "31B": local}


@pytest.mark.parametrize("size", SIZES)
def test_the_models_read_images_in_both_directions_where_their_architecture_says(size, tiny_lab) -> None:
    """In a layer that does, a soft token has keys after itself among its heaviest."""
    lab = tiny_lab(size)
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (96, 96, 3), dtype=np.uint8))
    trace = lab.trace("Which?", images=[picture], max_soft_tokens=70, attention=True)
    soft = np.flatnonzero(trace.tokens.modalities == "image")
    later = {
        layer.kind
        for layer in trace.attention.layers
        if (trace.attention.top_keys(layer.layer)[0][:, soft] > soft[:, None]).any()
    }
    assert later == set(get_architecture(size).bidirectional)


def test_modalities() -> None:
    hears = {size for size in SIZES if "audio" in get_architecture(size).modalities}
    assert hears == {"E2B", "E4B", "12B"}
    assert all(get_architecture(size).modalities[:3] == ("text", "image", "video") for size in SIZES)


def test_the_text_configuration_alone_is_enough() -> None:
    text = configuration("E2B")["text_config"]
    shape = from_config(text)
    assert shape.layers == get_architecture("E2B").layers
    assert shape.modalities == ("text",)
    assert shape.name == "gemma4_text"


def test_a_silent_configuration_gets_transformers_defaults() -> None:
    shape = from_config({"model_type": "gemma4", "text_config": {"num_hidden_layers": 7}})
    assert [layer.kind for layer in shape.layers] == ["local"] * 5 + ["global"] * 2
    assert (shape.layers[0].head_dim, shape.layers[5].head_dim, shape.window) == (256, 512, 512)


def test_per_layer_overrides_are_read_by_number() -> None:
    text = {**configuration("26B-A4B")["text_config"], "per_layer_config": {"05": {"head_dim": 64}}}
    layers = from_config({"model_type": "gemma4", "text_config": text}).layers
    assert (layers[5].head_dim, layers[5].kv_heads, layers[11].head_dim) == (64, 8, 256)


def test_a_configuration_is_a_fresh_copy() -> None:
    configuration("E2B")["text_config"]["hidden_size"] = 1
    assert configuration("E2B")["text_config"]["hidden_size"] == 1536


@pytest.mark.parametrize("kind", ["gemma3", "llama", None])
def test_another_architecture_is_refused(kind: str | None) -> None:
    with pytest.raises(NotGemma4, match="not a Gemma 4 decoder"):
        from_config({"model_type": kind})


def test_the_repr_is_one_line_with_units() -> None:
    assert repr(get_architecture("26B-A4B")) == (
        "Architecture(26B-A4B: 30 layers, 25 local (window 1024) + 5 global, hidden 2,816, "
        "128 experts top-8, context 262,144 tokens)"
    )

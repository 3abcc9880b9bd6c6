"""Parameters by part and cache bytes against transformers' own: meta tensors and Cache objects."""

from __future__ import annotations

import json

import pytest
import torch
import transformers
from transformers.models.gemma3.configuration_gemma3 import Gemma3TextConfig
from transformers.models.qwen3_5_moe.configuration_qwen3_5_moe import Qwen3_5MoeTextConfig

from gemma_lab.errors import LabError
from gemma_lab.family.architecture import SIZES, configuration
from gemma_lab.planning.models import model_shape, shapes_by_key

LENGTHS = (1, 511, 512, 513, 1024, 4097)


def test_every_size_and_neighbour_is_known_by_its_usual_names() -> None:
    for name, key in {
        "26B-A4B": "26B-A4B",
        "google/gemma-4-26B-A4B-it": "26B-A4B",
        "gemma4:26b": "26B-A4B",
        "26b": "26B-A4B",
        "google/gemma-4-31B-it-qat-q4_0-gguf": "31B",
        "gemma-4-E2B-it-assistant": "E2B",
        "e4b": "E4B",
        "google/gemma-3-27b-it": "Gemma 3 27B",
        "Qwen/Qwen3.6-35B-A3B": "Qwen3.6-35B-A3B",
    }.items():
        assert model_shape(name).key == key


def test_an_unknown_model_is_named_with_near_ones() -> None:
    with pytest.raises(LabError, match="27B-A4B") as caught:
        model_shape("27B-A4B")
    assert "26B-A4B" in caught.value.hint


@pytest.mark.parametrize("size", SIZES)
def test_parameters_equal_those_of_transformers_on_the_meta_device(size: str) -> None:
    config = transformers.AutoConfig.for_model(**configuration(size))
    with torch.device("meta"):
        model = transformers.AutoModelForImageTextToText.from_config(config)
    assert model_shape(size).total == sum(parameter.numel() for parameter in model.parameters())


def qwen_text(layers: int) -> torch.nn.Module:
    config = Qwen3_5MoeTextConfig(num_hidden_layers=layers)
    with torch.device("meta"):
        return transformers.AutoModelForCausalLM.from_config(config)


def test_the_neighbours_have_the_parameters_of_transformers() -> None:
    qwen = qwen_text(40)
    kit = model_shape("Qwen3.6-35B-A3B")
    theirs = sum(parameter.numel() for parameter in qwen.parameters())
    assert kit.total == pytest.approx(theirs, rel=1e-4)
    experts = sum(p.numel() for name, p in qwen.named_parameters() if ".experts." in name)
    assert kit.parts["experts"] == experts
    gemma = Gemma3TextConfig(
        vocab_size=262_208,
        hidden_size=5376,
        intermediate_size=21_504,
        num_hidden_layers=62,
        num_attention_heads=32,
        num_key_value_heads=16,
        head_dim=128,
    )
    with torch.device("meta"):
        model = transformers.AutoModelForCausalLM.from_config(gemma)
    total = sum(parameter.numel() for parameter in model.parameters())
    assert model_shape("Gemma 3 27B").text == pytest.approx(total, rel=1e-5)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("length", LENGTHS)
def test_cache_bytes_equal_those_of_a_cache_object(size: str, length: int) -> None:
    shape = model_shape(size)
    config = transformers.AutoConfig.for_model(**configuration(size)).get_text_config()
    kept = 0
    for group in shape.cache:
        window = group.stored.window
        layer_length = length if window is None else min(length, window)
        kept += group.stored.count * 2 * group.stored.kv_heads * group.stored.head_dim * layer_length * 2
    assert sum(shape.stored_cache_bytes(length).values()) == kept
    cache = transformers.DynamicCache(config=config)
    shared = config.num_kv_shared_layers or 0
    for index in range(config.num_hidden_layers - shared):
        own = config.per_layer_config[index]
        keys = torch.empty(
            1, own.num_key_value_heads, length, own.head_dim, dtype=torch.bfloat16, device="meta"
        )
        cache.update(keys, keys, index)
    held = sum(
        2 * layer.keys.numel() * 2
        for layer in cache.layers
        if getattr(layer, "keys", None) is not None and layer.keys.dim() == 4
    )
    # transformers drops one token of a full window between steps
    between = sum(
        group.stored.count * 2 * group.stored.kv_heads * group.stored.head_dim * 2
        for group in shape.cache
        if group.stored.window is not None and length >= group.stored.window
    )
    assert held == kept - between


def test_a_shared_cache_is_stored_once_and_read_by_every_layer_that_shares_it() -> None:
    # the figures of the hand count: bytes of one token in the global layers, 16 bits
    stored = {"E2B": 6144, "E4B": 16_384, "12B": 16_384, "26B-A4B": 20_480, "31B": 81_920}
    read = {**stored, "E2B": 14_336, "E4B": 28_672}
    for size in SIZES:
        shape = model_shape(size)
        assert shape.stored_cache_bytes(1)["global"] == stored[size]
        assert shape.read_cache_bytes(1)["global"] == read[size]


def test_a_fixed_state_does_not_grow() -> None:
    shape = model_shape("Qwen3.5-35B-A3B")
    first, later = shape.stored_cache_bytes(10), shape.stored_cache_bytes(100_000)
    assert first["linear"] == later["linear"] == 30 * (524_288 * 4 + 32_768 * 2)
    assert later["global"] == 20_480 * 100_000


def test_the_union_of_experts_grows_from_top_k_to_all_of_them() -> None:
    shape = model_shape("26B-A4B")
    shares = [shape.expert_share(tokens) for tokens in (1, 2, 8, 64, 1000)]
    assert shares[0] == pytest.approx(8 / 128)
    assert shares == sorted(shares)
    assert shares[-1] <= 1
    assert model_shape("31B").expert_share(5) == 0


def test_every_shape_names_its_sources() -> None:
    from gemma_lab.planning.models import source_lines

    for shape in shapes_by_key().values():
        assert source_lines(shape)
        assert json.dumps(dict(shape.parts))

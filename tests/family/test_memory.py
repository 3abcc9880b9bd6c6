"""Bytes of caches and weights, against a table worked out by hand."""

from __future__ import annotations

import pytest

from gemma_lab.errors import LabError
from gemma_lab.family.architecture import SIZES, get_architecture
from gemma_lab.family.memory import (
    BITS_PER_WEIGHT,
    all_weight_bytes,
    kv_cache_bytes,
    kv_cache_slope,
    weight_bytes,
)
from gemma_lab.family.parameters import count_parameters, matrix_parameters

MIB, KIB = 2**20, 2**10
# MiB at 4K, 32K, 128K and 256K tokens, bfloat16; then KiB a token and MiB of the full windows
CACHES = {
    "E2B": (30, 198, 774, None, 6, 6),
    "E4B": (84, 532, 2068, None, 16, 20),
    "12B": (384, 832, 2368, 4416, 16, 320),
    "26B-A4B": (280, 840, 2760, 5320, 20, 200),
    "31B": (1120, 3360, 11_040, 21_280, 80, 800),
}


@pytest.mark.parametrize("size", SIZES)
def test_caches(size: str) -> None:
    shape = get_architecture(size)
    *sizes, slope, constant = CACHES[size]
    for tokens, expected in zip((4096, 32_768, 131_072, 262_144), sizes, strict=True):
        if expected is not None:
            assert kv_cache_bytes(shape, tokens) == expected * MIB
    assert kv_cache_slope(shape) == slope * KIB
    assert kv_cache_bytes(shape, 4096) - 4096 * slope * KIB == constant * MIB
    assert kv_cache_bytes(shape, 0) == 0


def test_a_short_text_fills_no_window() -> None:
    shape = get_architecture("26B-A4B")
    per_token = kv_cache_bytes(shape, 1)
    assert per_token == 220 * KIB
    assert kv_cache_bytes(shape, 1024) == 1024 * per_token
    assert kv_cache_bytes(shape, 1025) == 1024 * per_token + kv_cache_slope(shape)


def test_batch_and_value_width_multiply() -> None:
    shape = get_architecture("12B")
    assert kv_cache_bytes(shape, 5000, batch=3, value_bytes=4) == 6 * kv_cache_bytes(shape, 5000)


@pytest.mark.parametrize("size", SIZES)
def test_weights(size: str) -> None:
    shape = get_architecture(size)
    total, packed = count_parameters(shape).total, matrix_parameters(shape)
    sizes = all_weight_bytes(shape)
    assert list(sizes) == list(BITS_PER_WEIGHT)
    assert sizes["bf16"] == 2 * total
    assert sizes["fp32"] == 4 * total
    assert sizes["int8"] == pytest.approx(packed * 34 / 32 + (total - packed) * 2, abs=1)
    assert sizes["int4"] == pytest.approx(packed * 18 / 32 + (total - packed) * 2, abs=1)


def test_an_unknown_dtype_is_refused_with_the_known_ones() -> None:
    with pytest.raises(LabError, match="'fp16'") as caught:
        weight_bytes(get_architecture("E2B"), "fp16")
    assert "bf16" in caught.value.hint

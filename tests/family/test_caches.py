"""Caches by groups of layers: as layer by layer for Gemma 4, and worked out by hand for its neighbours."""

from __future__ import annotations

import pytest

from gemma_lab.errors import LabError
from gemma_lab.family.architecture import SIZES, get_architecture
from gemma_lab.family.caches import KVCache, kv_caches
from gemma_lab.family.memory import kv_cache_bytes, kv_cache_slope

MIB, KIB = 2**20, 2**10
NEIGHBOURS = ("Gemma 3 27B", "Qwen3.5-35B-A3B")


def cache(name: str) -> KVCache:
    return next(one for one in kv_caches() if one.name == name)


def test_the_family_comes_first_then_its_neighbours() -> None:
    assert [one.name for one in kv_caches()] == [*SIZES, *NEIGHBOURS]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("tokens", [0, 1, 511, 1024, 1025, 131_072])
def test_groups_add_up_to_the_layers(size: str, tokens: int) -> None:
    shape = get_architecture(size)
    assert cache(size).bytes(tokens) == kv_cache_bytes(shape, tokens)
    assert cache(size).bytes(tokens, value_bytes=4) == kv_cache_bytes(shape, tokens, value_bytes=4)
    assert cache(size).slope() == kv_cache_slope(shape)


def test_gemma_3_keeps_ten_global_layers_and_fifty_two_windows() -> None:
    gemma3 = cache("Gemma 3 27B")
    assert gemma3.slope() == 10 * 2 * 16 * 128 * 2 == 80 * KIB
    assert gemma3.bytes(131_072) == 131_072 * 80 * KIB + 416 * MIB
    assert gemma3.without_savings(4096) == 62 * 8 * KIB * 4096


def test_qwen_keeps_a_fixed_state_in_three_layers_of_four() -> None:
    qwen = cache("Qwen3.5-35B-A3B")
    assert qwen.slope() == 20 * KIB == cache("26B-A4B").slope()
    state = 30 * 32 * 128 * 128 * 4  # fp32
    convolution = 30 * (16 * 128 * 2 + 32 * 128) * 4 * 2
    assert qwen.bytes(0) == state + convolution
    assert state == 60 * MIB
    assert round(qwen.bytes(4096) / MIB) == 142
    assert round(qwen.bytes(262_144) / MIB) == 5182


def test_without_windows_and_sharing_it_is_many_times_more() -> None:
    assert cache("26B-A4B").without_savings(1) == 220 * KIB
    assert cache("31B").without_savings(1) == 880 * KIB
    assert cache("E2B").without_savings(1) == (28 * 1 * 256 + 7 * 512) * 2 * 2  # no layer shared
    assert cache("Qwen3.5-35B-A3B").without_savings(1000) == cache("Qwen3.5-35B-A3B").bytes(1000)


@pytest.mark.parametrize("tokens", [-1, 131_073])
def test_more_than_the_context_is_refused(tokens: int) -> None:
    with pytest.raises(LabError, match="E2B reads 0 to 131,072"):
        cache("E2B").bytes(tokens)


def test_every_cache_has_sources_and_says_what_it_is() -> None:
    assert all(one.sources for one in kv_caches())
    assert repr(cache("Qwen3.5-35B-A3B")) == (
        "KVCache(Qwen3.5-35B-A3B: 10 global, 30 linear; 20 KiB per token beyond the windows)"
    )

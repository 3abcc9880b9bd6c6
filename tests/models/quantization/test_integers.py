"""Rounding and packing against an independent computation, weight by weight."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gemma_lab.models.quantization.integers import quantize


def _unpacked(packed):
    """Return the codes one by one, as Python integers, from the bytes."""
    rows = packed.codes.reshape(-1, packed.codes.shape[-1]).tolist()
    if packed.bits == 8:
        return rows
    pairs = [[half for byte in row for half in (byte % 16 - 8, byte // 16 - 8)] for row in rows]
    return [row[: packed.columns] for row in pairs]


@settings(deadline=None, max_examples=40)
@given(
    shape=st.tuples(st.integers(1, 3), st.integers(1, 5), st.integers(1, 70)),
    bits=st.sampled_from([4, 8]),
    group_size=st.sampled_from([16, 32, 64]),
    search=st.booleans(),
    seed=st.integers(0, 10_000),
)
def test_a_weight_is_its_code_times_the_scale_of_its_group(shape, bits, group_size, search, seed):
    weights = torch.randn(shape, generator=torch.Generator().manual_seed(seed))
    packed = quantize(weights, bits=bits, group_size=group_size, search=search)
    size = min(group_size, shape[-1])
    scales = packed.scales.double().reshape(-1, math.ceil(shape[-1] / size)).tolist()
    expected = [
        [code * scale[column // size] for column, code in enumerate(row)]
        for row, scale in zip(_unpacked(packed), scales, strict=True)
    ]
    made = packed.dequantize(torch.float64).reshape(-1, shape[-1])
    assert torch.equal(made.float(), torch.tensor(expected, dtype=torch.float64).float())
    assert packed.dequantize().shape == shape


@pytest.mark.parametrize("bits", [4, 8])
def test_no_weight_that_is_not_clipped_moves_by_more_than_half_a_step(bits):
    weights = torch.randn(64, 96)
    packed = quantize(weights, bits=bits, group_size=32)
    steps = packed.scales.float().abs().repeat_interleave(32, dim=1)
    whole = packed.codes if bits == 8 else torch.tensor(_unpacked(packed))
    inside = (whole > -(2 ** (bits - 1))) & (whole < 2 ** (bits - 1) - 1)
    error = (packed.dequantize() - weights).abs()
    assert (error <= steps * 0.5001)[inside].all()
    assert inside.float().mean() > 0.5


@pytest.mark.parametrize("bits", [4, 8])
def test_searched_scales_are_never_worse_in_any_group(bits):
    weights = torch.distributions.StudentT(3.0).sample((200, 64))
    errors = [
        (quantize(weights, bits=bits, group_size=32, search=search).dequantize() - weights)
        .view(-1, 32)
        .square()
        .sum(1)
        for search in (True, False)
    ]
    assert (errors[0] <= errors[1] * (1 + 1e-5)).all()
    assert errors[0].sum() < errors[1].sum()


def test_a_brute_force_search_finds_hardly_better_scales():
    weights = torch.randn(300, 32, generator=torch.Generator().manual_seed(1))
    found = (quantize(weights, bits=4, group_size=32).dequantize() - weights).square().sum(1)
    largest = weights.abs().amax(1, keepdim=True)
    best = torch.full((300,), math.inf)
    for step in torch.linspace(0.4, 1.3, 400):
        for sign in (1, -1):
            scale = sign * step * largest / 8
            error = ((weights / scale).round().clamp(-8, 7) * scale - weights).square().sum(1)
            best = torch.minimum(best, error)
    assert found.sum() < 1.05 * best.sum()


def test_weights_on_a_4_bit_grid_are_kept_exactly():
    scales = (torch.rand(500, 4) * 0.02 + 1e-3).half().float() * (torch.randint(0, 2, (500, 4)) * 2 - 1)
    codes = torch.randint(-8, 8, (500, 4, 32))
    codes[..., 5] = -8  # as Q4_0 makes them: the largest weight of a block is -8 steps
    weights = (codes * scales[..., None]).reshape(500, 128)
    assert torch.equal(quantize(weights, bits=4, group_size=32).dequantize(), weights)


@pytest.mark.parametrize("size", [0.0, 1e-7, 1e-5, 1e4, 1e6])
def test_weights_of_any_size_keep_their_relative_precision(size):
    weights = torch.randn(8, 64) * size
    error = (quantize(weights, bits=8, group_size=32).dequantize() - weights).norm()
    assert error <= 0.02 * weights.norm()


def test_bytes():
    packed = quantize(torch.randn(3, 10, 64), bits=4, group_size=32)
    assert packed.nbytes == 3 * 10 * (64 // 2 + 2 * 2)  # two codes a byte, a 16-bit scale per 32 weights
    assert quantize(torch.randn(10, 64), bits=8, group_size=32).nbytes == 10 * (64 + 2 * 2)

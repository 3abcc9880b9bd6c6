"""Packed modules compute what the unpacked ones do with the dequantised weights."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from gemma_lab.models.quantization import layers
from gemma_lab.models.quantization.integers import quantize
from gemma_lab.models.quantization.layers import (
    SCALES,
    IntEmbedding,
    IntExperts,
    IntLinear,
    IntTable,
    IntTiedHead,
)


def _fill(module, name, weights):
    packed = quantize(weights, bits=module.bits, group_size=module.group_size)
    setattr(module, name, nn.Parameter(packed.codes, requires_grad=False))
    setattr(module, name + SCALES, packed.scales)
    return packed.dequantize()


def _experts(implementation, *, experts=6, hidden=40, width=24):
    from transformers import Gemma4TextConfig
    from transformers.models.gemma4.modeling_gemma4 import Gemma4TextExperts

    config = Gemma4TextConfig(
        hidden_size=hidden, moe_intermediate_size=width, num_experts=experts, top_k_experts=2
    )
    config._experts_implementation = implementation
    module = Gemma4TextExperts(config)
    for parameter in module.parameters():
        nn.init.normal_(parameter, std=0.2)
    return module


@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_linear(bits, dtype):
    plain = nn.Linear(50, 33)
    packed = IntLinear(plain, bits=bits, group_size=16)
    plain.weight.data = _fill(packed, "weight", plain.weight.data)
    plain, packed = plain.to(dtype), packed
    packed.bias.data = packed.bias.data.to(dtype)
    inputs = torch.randn(2, 7, 50, dtype=dtype)
    assert torch.equal(packed(inputs), plain(inputs))


@pytest.mark.parametrize("implementation", ["eager", "grouped_mm", "batched_mm"])
@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("tokens", [1, 13])
def test_experts(implementation, bits, tokens, monkeypatch):
    plain = _experts(implementation)
    packed = IntExperts(plain, bits=bits, group_size=32)
    for name in ("gate_up_proj", "down_proj"):
        plain.get_parameter(name).data = _fill(packed, name, plain.get_parameter(name).data)
    hidden, weights = torch.randn(tokens, 40), torch.rand(tokens, 2)
    ids = torch.stack([torch.randperm(6)[:2] for _ in range(tokens)])
    expected = plain(hidden, ids, weights)
    torch.testing.assert_close(packed(hidden, ids, weights), expected, rtol=1e-5, atol=1e-6)
    # the same when the experts are dequantised one by one
    monkeypatch.setattr(layers, "WORKING_BYTES", 1)
    torch.testing.assert_close(packed(hidden, ids, weights), expected, rtol=1e-5, atol=1e-6)


def test_experts_without_tokens():
    packed = IntExperts(_experts("eager"), bits=4, group_size=32)
    assert packed(torch.zeros(0, 40), torch.zeros(0, 2, dtype=torch.long), torch.zeros(0, 2)).shape == (0, 40)


def test_gradients_reach_the_inputs_of_packed_modules():
    plain = _experts("eager")
    packed = IntExperts(plain, bits=4, group_size=32)
    for name in ("gate_up_proj", "down_proj"):
        plain.get_parameter(name).data = _fill(packed, name, plain.get_parameter(name).data)
    ids, weights = torch.tensor([[0, 3], [5, 1]]), torch.rand(2, 2)
    gradients = []
    for module in (plain, packed):
        hidden = torch.ones(2, 40, requires_grad=True)
        module(hidden, ids, weights).square().sum().backward()
        gradients.append(hidden.grad)
    torch.testing.assert_close(gradients[1], gradients[0], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("bits", [4, 8])
def test_embedding_and_tied_head(bits, monkeypatch):
    from transformers.models.gemma4.modeling_gemma4 import Gemma4TextScaledWordEmbedding

    plain = Gemma4TextScaledWordEmbedding(30, 48, 0, embed_scale=6.9)
    table = IntTable(plain, bits=bits, group_size=32)
    plain.weight.data = _fill(table, "weight", plain.weight.data)
    table.finish()
    assert type(table) is IntEmbedding
    ids = torch.tensor([[3, 0, 29]])
    assert torch.equal(table(ids), plain(ids))
    for key in (0, (0, slice(None)), ids, slice(2, 5), (slice(2, 5), slice(1, 3)), (None, None)):
        assert torch.equal(table.weight[key], plain.weight[key])
    head, hidden = IntTiedHead(table), torch.randn(2, 48)
    expected = hidden @ plain.weight.T
    torch.testing.assert_close(head(hidden), expected)
    monkeypatch.setattr(layers, "WORKING_BYTES", 48 * 4 * 7)  # seven rows at a time
    torch.testing.assert_close(head(hidden), expected)
    assert not list(head.parameters())


def test_dequantised_experts_never_exceed_the_working_bytes(monkeypatch):
    """Of 64 experts, 3 at most exist at once, counted where weights are made."""
    packed = IntExperts(_experts("eager", experts=64), bits=4, group_size=32)
    one = 3 * 24 * 40 * 4
    monkeypatch.setattr(layers, "WORKING_BYTES", 3 * one)
    made = []
    original = IntExperts.dequantized

    def counted(self, name, experts=slice(None), dtype=torch.float32):
        found = original(self, name, experts, dtype)
        made.append(found.nbytes)
        return found

    monkeypatch.setattr(IntExperts, "dequantized", counted)
    packed(torch.randn(200, 40), torch.randint(0, 64, (200, 2)), torch.rand(200, 2))
    pairs = [sum(made[place : place + 2]) for place in range(0, len(made), 2)]
    assert max(pairs) == 3 * one
    assert len(pairs) >= 64 // 3

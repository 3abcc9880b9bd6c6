"""Weights are on the grid of Q4_0 while a step is taken, and what they were afterwards."""

from __future__ import annotations

import pytest
import torch

from gemma_lab.minis.architecture import mini_config, new_model
from gemma_lab.minis.rounded_weights import rounded_weights
from gemma_lab.models.quantization.integers import quantize
from gemma_lab.models.quantization.q4_0_grid import BLOCK, rounded_matrices


@pytest.fixture(scope="module")
def model():
    return new_model(mini_config("mini-moe", 512), seed=0)


def test_matrices_are_rounded_and_nothing_else(model):
    before = {name: weight.detach().clone() for name, weight in model.named_parameters()}
    names = {id(weight): name for name, weight in model.named_parameters()}
    rounded = {names[id(weight)] for weight in rounded_matrices(model)}
    assert {"model.language_model.embed_tokens.weight",
            "model.language_model.layers.0.experts.gate_up_proj"} <= rounded  # fmt: skip
    assert not [name for name in rounded if "norm" in name or "router" in name or "vision" in name]
    with rounded_weights(model):
        for name, weight in model.named_parameters():
            wanted = before[name]
            if name in rounded:
                wanted = quantize(wanted, bits=4, group_size=BLOCK).dequantize()
            assert torch.equal(weight, wanted), name


def test_weights_are_what_they_were_afterwards_even_after_an_error(model):
    before = [weight.detach().clone() for weight in model.parameters()]
    with pytest.raises(KeyboardInterrupt), rounded_weights(model):
        raise KeyboardInterrupt
    assert all(map(torch.equal, model.parameters(), before))


def test_the_gradient_at_the_rounded_weights_moves_the_others(model):
    ids = torch.tensor([[5, 6, 7]])
    weight = model.model.language_model.layers[0].mlp.up_proj.weight
    model.zero_grad()
    with rounded_weights(model):
        model(input_ids=ids, labels=ids, use_cache=False).loss.backward()
    found = weight.grad.clone()
    model.zero_grad()
    model(input_ids=ids, labels=ids, use_cache=False).loss.backward()
    assert not torch.allclose(found, weight.grad)
    assert torch.nn.functional.cosine_similarity(found.flatten(), weight.grad.flatten(), dim=0) > 0.5

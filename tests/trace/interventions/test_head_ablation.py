"""A head that is knocked out adds nothing: what a model says whose projection has no weights for it."""

from __future__ import annotations

import copy

import pytest
import torch
from support import shapes
from support.decoders import DECODERS, tiny_decoder
from support.moe import hooks

from gemma_lab import Edit
from gemma_lab.errors import BadEdit
from gemma_lab.trace.interventions.apply import EditContext
from gemma_lab.trace.interventions.head_ablation import heads_of
from gemma_lab.trace.probes.model_modules import attentions

IDS = torch.arange(30, 70)[None]


def logits(model, ids=IDS):
    with torch.no_grad():
        return model(input_ids=ids).logits


def without(model, off):
    """A copy whose output projections have no weights for some heads."""
    made = copy.deepcopy(model)
    for layer, module in attentions(made).items():
        for head in off.get(layer, ()):
            width = module.head_dim
            module.o_proj.weight.data[:, head * width : (head + 1) * width] = 0
    return made


@pytest.mark.parametrize("size", shapes.SIZES)
def test_it_is_the_model_without_the_heads_weights(size):
    """Every size: KV-shared tails (E2B, E4B), layers whose keys are their values (the others)."""
    model = shapes.tiny_model(size)
    last = len(model.get_decoder().layers) - 1
    off = {0: [1], last: [0, 3]}
    plain, held = logits(model), hooks(model)
    with EditContext(model, Edit(ablate_heads=off)):
        edited = logits(model)
    torch.testing.assert_close(edited, logits(without(model, off)), rtol=1e-5, atol=1e-5)
    assert (edited - plain).abs().max() > 1e-4
    assert torch.equal(logits(model), plain)
    assert hooks(model) == held


@pytest.mark.parametrize("family", DECODERS)
def test_other_decoders_of_transformers(family):
    model = tiny_decoder(family)
    ids = torch.arange(1, 30)[None]
    off = {layer: [2] for layer in heads_of(model)}
    plain = logits(model, ids)
    with EditContext(model, Edit(ablate_heads=off)):
        edited = logits(model, ids)
    torch.testing.assert_close(edited, logits(without(model, off), ids), rtol=1e-5, atol=1e-5)
    assert not torch.equal(edited, plain)
    assert torch.equal(logits(model, ids), plain)


def test_generating_without_heads():
    model = shapes.tiny_model("E2B")
    off = {layer: [0, 2] for layer in heads_of(model)}
    settings = {"max_new_tokens": 8, "do_sample": False, "eos_token_id": None}
    expected = without(model, off).generate(IDS, **settings)
    with EditContext(model, Edit(ablate_heads=[0, 2])):
        said = model.generate(IDS, **settings)
    assert torch.equal(said, expected)


def test_every_head_in_every_layer_leaves_the_tokens_alone():
    """Without attention a token knows nothing of the others."""
    model = shapes.tiny_model("31B")
    with EditContext(model, Edit(ablate_heads=range(4))):
        edited = logits(model)
        alone = logits(model, IDS[:, 7:8])
    torch.testing.assert_close(edited[:, 7], alone[:, 0], rtol=1e-5, atol=1e-5)


def test_the_heads_are_those_of_the_configuration():
    for size in shapes.SIZES:
        model = shapes.tiny_model(size)
        found = heads_of(model)
        assert set(found) == set(range(model.config.get_text_config().num_hidden_layers))
        assert {heads.count for heads in found.values()} == {4}


def test_heads_that_do_not_exist_are_named():
    model = shapes.tiny_model("26B-A4B")
    with pytest.raises(BadEdit, match=r"Head 4 does not exist in layer 2 of m\.\n→ .*heads 0 to 3"):
        EditContext(model, Edit(ablate_heads={2: [0, 4]}), name="m")
    with pytest.raises(BadEdit, match=r"Layer 99 of m does not exist or has no attention heads"):
        EditContext(model, Edit(ablate_heads={99: [0]}), name="m")


def test_nested_knock_outs_add_up():
    model = shapes.tiny_model("26B-A4B")
    with EditContext(model, Edit(ablate_heads={0: [1]})):
        alone = logits(model)
        with EditContext(model, Edit(ablate_heads={0: [2], "all": [3]})) as merged:
            assert merged.listed("ablate_heads", 0) == (1, 2, 3)
            both = logits(model)
        assert torch.equal(logits(model), alone)
    off = {layer: [3] for layer in range(6)} | {0: [1, 2, 3]}
    torch.testing.assert_close(both, logits(without(model, off)), rtol=1e-5, atol=1e-5)

"""Attention, logit lens and activations of other decoders of transformers, through the verbs of a Lab."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from support.decoders import DECODERS, tiny_decoder, word_tokenizer

import gemma_lab as gl
from gemma_lab.errors import BadPrompt, NotGemma4
from gemma_lab.family.other_decoders import from_decoder_config
from gemma_lab.lab import Lab

TEXT = " ".join(f"w{number}" for number in (5, 9, 2, 30, 9, 41, 7, 7, 12, 3, 18, 22))


@pytest.fixture(scope="module", params=DECODERS)
def lab(request):
    return Lab(model=tiny_decoder(request.param), processor=word_tokenizer(), name=request.param)


@torch.no_grad()
def reference(lab, ids):
    """The model's own numbers, with eager attention."""
    lab.model.set_attn_implementation("eager")
    try:
        return lab.model(torch.tensor([ids]), output_attentions=True, output_hidden_states=True)
    finally:
        lab.model.set_attn_implementation("sdpa")


def test_attention_rows_are_those_of_eager_attention(lab):
    rows = tuple(range(12))
    trace = lab.trace(TEXT, raw=True, attention=gl.AttentionRequest(rows=rows), precision="full")
    own = reference(lab, trace.tokens.ids.tolist())
    assert len(trace) == 12
    assert trace.routing is None
    for layer, weights in enumerate(own.attentions):
        for row in rows:
            found = trace.attention.row(layer, row)
            own_row = weights[0, :, row].numpy()
            np.testing.assert_allclose(found, own_row[:, : found.shape[1]], atol=2e-5)
            assert not own_row[:, found.shape[1] :].any()


def test_the_lens_ends_in_the_models_own_choice(lab):
    trace = lab.trace(TEXT, raw=True, logit_lens=True, max_new_tokens=3, temperature=0)
    ids = trace.tokens.ids.tolist()
    own = reference(lab, ids).logits[0].argmax(-1).numpy()
    assert trace.logit_lens.ids[-1, :, 0].tolist() == own[trace.logit_lens.positions].tolist()


def test_activations_are_what_the_layers_return(lab):
    read = lab.activations(TEXT, raw=True, layers=[0, 1], positions=[0, -1])
    hidden = reference(lab, lab.trace(TEXT, raw=True).tokens.ids.tolist()).hidden_states
    for row, layer in enumerate(read.layers):
        np.testing.assert_allclose(read.values[row], hidden[layer + 1][0, [0, -1]].numpy(), atol=2e-5)


def test_heads_are_ablated(lab):
    plain = lab.trace(TEXT, raw=True, logit_lens=[-1])
    edited = lab.trace(TEXT, raw=True, logit_lens=[-1], edit=gl.Edit(ablate_heads=[0]))
    assert plain.logit_lens != edited.logit_lens


def test_without_a_chat_template_only_raw_text_is_taken(lab):
    with pytest.raises(BadPrompt, match="raw=True"):
        lab.trace(TEXT, attention=True)


def test_the_shape_has_what_memory_depends_on():
    shape = from_decoder_config(tiny_decoder("gemma3").config.to_dict())
    assert [layer.kind for layer in shape.layers] == ["local", "local", "global"]
    assert {(layer.heads, layer.kv_heads, layer.head_dim, layer.mlp_width) for layer in shape.layers} == {
        (4, 2, 8, 48)
    }
    assert (shape.window, shape.hidden, shape.vocabulary, shape.context) == (8, 32, 64, 256)
    with pytest.raises(NotGemma4, match="num_hidden_layers"):
        from_decoder_config({"model_type": "vit", "hidden_size": 3})

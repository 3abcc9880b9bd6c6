"""What is cut is not looked at, and the rest shares the attention as it did."""

from __future__ import annotations

import pytest
import torch
from PIL import Image
from support import shapes
from support.decoders import DECODERS, tiny_decoder
from support.moe import hooks

from gemma_lab import AttentionKnockout, Edit
from gemma_lab.errors import BadEdit
from gemma_lab.lab import Lab
from gemma_lab.trace.interventions.apply import EditContext
from gemma_lab.trace.probes.attention.interface import AttentionTaps
from gemma_lab.trace.probes.attention.taps import AttentionTap

IDS = torch.arange(30, 80)[None]
CUT = 9
#: From token 9 on nobody looks before it: what follows is what a model says that never read the first nine.
APART = Edit(knock_out_attention=AttentionKnockout(queries=(CUT, None), keys=(0, CUT)))


def logits(model, ids=IDS, **more):
    with torch.no_grad():
        return model(input_ids=ids, **more).logits


def close(one, two):
    torch.testing.assert_close(one, two, rtol=1e-4, atol=1e-4)  # other places, other roundings


@pytest.fixture(scope="module", params=shapes.SIZES)
def model(request):
    return shapes.tiny_model(request.param)


def test_what_is_cut_off_might_as_well_not_be_there(model):
    """Positions turn (RoPE), so a text that is read alone is the same text read later."""
    plain, held = logits(model), hooks(model)
    named = model.config.get_text_config()._attn_implementation
    alone = logits(model, IDS[:, CUT:])
    with EditContext(model, APART):
        edited = logits(model)
    close(edited[:, CUT:], alone)
    close(edited[:, :CUT], plain[:, :CUT])
    assert (plain[:, CUT:] - alone).abs().max() > 0.01
    assert torch.equal(logits(model), plain)
    assert hooks(model) == held
    assert model.config.get_text_config()._attn_implementation == named


def test_in_pieces_and_token_by_token(model):
    alone = logits(model, IDS[:, CUT:])
    cache, said = None, []
    with EditContext(model, APART), torch.no_grad():
        for start, stop in ((0, 7), (7, 30), (30, 48), (48, 49), (49, 50)):
            done = model(input_ids=IDS[:, start:stop], past_key_values=cache, use_cache=True)
            cache = done.past_key_values
            said.append(done.logits)
    close(torch.cat(said, dim=1)[:, CUT:], alone)


def test_while_it_writes(model):
    """A span without an end goes on through what is generated."""
    settings = {"max_new_tokens": 20, "do_sample": False, "eos_token_id": None}
    alone = model.generate(IDS[:, CUT:], **settings)
    with EditContext(model, APART):
        said = model.generate(IDS, **settings)
    assert torch.equal(said[:, IDS.shape[1] :], alone[:, IDS.shape[1] - CUT :])
    assert not torch.equal(said, model.generate(IDS, **settings))


def test_positions_do_not_count_padding(model):
    ids = torch.cat([torch.zeros(1, 6, dtype=torch.long), IDS], dim=1)
    ids = torch.cat([ids, torch.arange(40, 96)[None]])
    mask = torch.ones_like(ids)
    mask[0, :6] = 0
    with EditContext(model, APART):
        edited = logits(model, ids, attention_mask=mask)
    close(edited[0, 6 + CUT :], logits(model, IDS[:, CUT:])[0])
    close(edited[1, CUT:], logits(model, ids[1:, CUT:])[0])


@pytest.mark.parametrize("implementation", ["sdpa", "eager"])
def test_the_rest_of_a_row_keeps_its_proportions(implementation):
    """In the first layer: the same scores, one key less."""
    model = shapes.tiny_model("26B-A4B")
    model.set_attn_implementation(implementation)
    edit = Edit(knock_out_attention=AttentionKnockout(queries=(12, 15), keys=(10, 12), layers=[0], heads=[1]))
    plain, edited = weights(model), weights(model, edit)
    expected = plain.clone()
    expected[0, 1, 12:15, 10:12] = 0
    expected /= expected.sum(-1, keepdim=True)
    torch.testing.assert_close(edited, expected, rtol=1e-5, atol=1e-6)
    assert (plain[0, 1, 12:15, 10:12] > 0).all()


def weights(model, edit=None):
    """Attention of the first layer, worked out from what the layer was given."""

    class Look(AttentionTap):
        def on_attention(self, layer, module, query, key, value, mask, is_causal, positions, scaling):
            if layer:
                return
            scores = query @ key.repeat_interleave(query.shape[1] // key.shape[1], 1).mT * scaling
            if is_causal:
                mask = torch.ones(scores.shape[-2:], dtype=torch.bool).tril()
            if mask.dtype != torch.bool:
                mask = mask > torch.finfo(mask.dtype).min
            found.append(scores.masked_fill(~mask, -torch.inf).softmax(-1))

    found = []
    with AttentionTaps(model, [Look()]), EditContext(model, edit or Edit()):
        logits(model, IDS[:, :20])
    return found[0]


def test_an_edit_elsewhere_leaves_every_bit():
    """Keys beyond a local layer's window, and queries that no pass has, change no mask."""
    model = shapes.tiny_model("26B-A4B")
    plain = logits(model)
    for cut in (
        AttentionKnockout(queries=(200, None), keys=(0, 5)),
        AttentionKnockout(queries=(45, 50), keys=(0, 5), layers=[0]),
    ):
        with EditContext(model, Edit(knock_out_attention=cut)):
            assert torch.equal(logits(model), plain)


@pytest.mark.parametrize("size", ["12B", "E2B"])
def test_an_answer_that_is_cut_off_from_a_picture_does_not_depend_on_it(size):
    lab = Lab(model=shapes.tiny_model(size), processor=shapes.tiny_processor(size), name="tiny")
    red, stripes = (Image.new("RGB", (96, 96), "red"), Image.effect_noise((96, 96), 90).convert("RGB"))
    trace = lab.trace("What is it?", images=[red])
    (seen,) = [run for run in trace.tokens.runs() if run.modality == "image"]
    edit = Edit(knock_out_attention=AttentionKnockout(queries=(seen.stop, None), keys=seen))

    def said(picture, edit=None):
        return lab.trace("What is it?", images=[picture], max_new_tokens=4, edit=edit).generation

    assert said(red, edit) == said(stripes, edit)
    assert said(red) != said(stripes)


@pytest.mark.parametrize("family", DECODERS)
def test_other_decoders_of_transformers(family):
    model = tiny_decoder(family)
    ids = torch.arange(1, 40)[None]
    plain = logits(model, ids)
    with EditContext(model, APART):
        edited = logits(model, ids)
    close(edited[:, CUT:], logits(model, ids[:, CUT:]))
    assert torch.equal(logits(model, ids), plain)


def test_a_token_with_nothing_left_to_look_at_is_refused_and_nothing_is_left_of_it(model):
    plain, held = logits(model), hooks(model)
    edit = Edit(knock_out_attention=AttentionKnockout(queries=(20, 30), keys=(0, 26), layers=[0]))
    said = r"Token 20 would .* layer 0"
    with pytest.raises(BadEdit, match=said), EditContext(model, edit):
        logits(model)
    assert torch.equal(logits(model), plain)
    assert hooks(model) == held


def test_two_cuts_together_may_leave_nothing():
    model = shapes.tiny_model("26B-A4B")
    first, second = (
        AttentionKnockout(queries=(4, 5), keys=(0, 3)),
        AttentionKnockout(queries=(4, 5), keys=(3, 5), heads=[2]),
    )
    with EditContext(model, Edit(knock_out_attention=first)):
        logits(model)
        with (
            pytest.raises(BadEdit, match="layer 0 of head 2"),
            EditContext(model, Edit(knock_out_attention=second)),
        ):
            logits(model)
        with EditContext(
            model, Edit(knock_out_attention=AttentionKnockout(queries=(4, 5), keys=(3, 4)))
        ) as merged:
            assert len(merged.knock_out_attention) == 2
            logits(model)


def test_an_interrupt_while_a_cut_is_put_in_force_leaves_nothing(monkeypatch):
    model = shapes.tiny_model("26B-A4B")
    plain, held = logits(model), hooks(model)
    monkeypatch.setattr("gemma_lab.trace.interventions.apply.AttentionTaps", lambda *_: 1 / 0)
    edit = Edit(knock_out_attention=AttentionKnockout(queries=(4, 5), keys=(0, 3)), ablate_heads={0: [1]})
    with pytest.raises(ZeroDivisionError), EditContext(model, edit):
        pytest.fail("it was not entered")
    assert torch.equal(logits(model), plain)
    assert hooks(model) == held


def test_layers_and_heads_that_do_not_exist_are_named():
    model = shapes.tiny_model("26B-A4B")
    with pytest.raises(BadEdit, match=r"Layer 6 of m does not exist or has no attention heads"):
        EditContext(
            model,
            Edit(knock_out_attention=AttentionKnockout(queries=(1, 2), keys=(0, 1), layers=[6])),
            name="m",
        )
    with pytest.raises(BadEdit, match=r"Head 4 does not exist in layer 0 of m"):
        EditContext(
            model,
            Edit(knock_out_attention=AttentionKnockout(queries=(1, 2), keys=(0, 1), heads=[4])),
            name="m",
        )

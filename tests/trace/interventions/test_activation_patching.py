"""Activations put into another run are what its next layer reads."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from support import shapes
from support.decoders import DECODERS, tiny_decoder
from support.moe import hooks

import gemma_lab as gl
from gemma_lab import Activations, Edit, Patch
from gemma_lab.errors import BadEdit, BadTrace
from gemma_lab.lab import Lab
from gemma_lab.trace.interventions.activation_patching import ActivationProbe
from gemma_lab.trace.interventions.apply import EditContext
from gemma_lab.trace.probes.model_modules import layers_of

IDS = torch.arange(30, 60)[None]
OTHER = torch.arange(90, 60, -1)[None]


def logits(model, ids=IDS, **more):
    with torch.no_grad():
        return model(input_ids=ids, **more).logits


@pytest.fixture(scope="module", params=shapes.SIZES)
def lab(request):
    return Lab(
        model=shapes.tiny_model(request.param), processor=shapes.tiny_processor(request.param), name="tiny"
    )


def residual(model, ids, layer):
    """What a layer gives, by a hook of the test's own."""
    seen = []
    handle = layers_of(model)[layer].register_forward_hook(
        lambda _m, _a, out: seen.append(out[0] if isinstance(out, tuple) else out)
    )
    try:
        logits(model, ids)
    finally:
        handle.remove()
    return seen[0].detach().numpy().copy()


def test_they_are_what_the_layers_gave(lab):
    trace = lab.trace("Hello there")
    found = lab.activations("Hello there")
    ids = torch.from_numpy(trace.tokens.ids)[None].long()
    assert found.positions == tuple(range(len(trace)))
    assert found.layers == tuple(range(lab.text_config.num_hidden_layers))
    for row in found.layers:
        np.testing.assert_allclose(found.values[row], residual(lab.model, ids, row)[0], rtol=1e-4, atol=1e-5)


def test_chosen_places_and_places_from_the_end(lab):
    whole = lab.activations("Hello there")
    some = lab.activations("Hello there", layers=[2, -1], positions=[3, -1])
    last, end = whole.layers[-1], whole.positions[-1]
    assert (some.layers, some.positions) == ((2, last), (3, end))
    np.testing.assert_array_equal(some.values, whole.values[np.ix_([2, last], [3, end])])
    assert some == whole.at(layers=[2, last], positions=[3, end])


def test_the_last_layer_of_another_prompt_says_what_that_prompt_says(lab):
    model, last = lab.model, len(layers_of(lab.model)) - 1
    patch = Patch(Activations((last,), tuple(range(30)), residual(model, OTHER, last)))
    plain, held, other = logits(model), hooks(model), logits(model, OTHER)
    with EditContext(model, Edit(patch=patch)):
        assert torch.equal(logits(model), other)
    assert torch.equal(logits(model), plain)
    assert hooks(model) == held


def test_its_own_activations_change_no_bit(lab):
    model = lab.model
    values = np.concatenate([residual(model, IDS, layer) for layer in (1, 3)])
    plain = logits(model)
    with EditContext(model, Edit(patch=Activations((1, 3), tuple(range(30)), values))):
        assert torch.equal(logits(model), plain)


@pytest.mark.parametrize("size", ["12B", "26B-A4B", "31B"])
def test_a_layer_in_between_decides_all_that_follows(size):
    """Where nothing but the residual stream goes from layer to layer."""
    model = shapes.tiny_model(size)
    patch = Patch(Activations((2,), tuple(range(30)), residual(model, OTHER, 2)))
    with EditContext(model, Edit(patch=patch)):
        edited = logits(model)
    torch.testing.assert_close(edited, logits(model, OTHER), rtol=1e-5, atol=1e-5)


def test_tokens_before_a_patch_are_as_they_were_and_those_after_are_not(lab):
    model = lab.model
    patch = Patch(Activations((1,), (5,), residual(model, OTHER, 1)[:, 5:6]), positions=[12])
    plain = logits(model)
    with EditContext(model, Edit(patch=patch)):
        edited = logits(model)
    torch.testing.assert_close(edited[:, :12], plain[:, :12], rtol=1e-5, atol=1e-5)
    assert not torch.equal(edited[:, 12], plain[:, 12])
    assert (edited[:, 13:] - plain[:, 13:]).abs().max() > 1e-5


def test_in_pieces_padded_and_while_it_writes(lab):
    model = lab.model
    edit = Edit(patch=Patch(Activations((0, 2), (5, 6), np.ones((2, 2, 64))), positions=[10, 25]))
    with EditContext(model, edit), torch.no_grad():
        whole = logits(model)
        cache, said = None, []
        for start, stop in ((0, 9), (9, 11), (11, 25), (25, 26), (26, 30)):
            done = model(input_ids=IDS[:, start:stop], past_key_values=cache, use_cache=True)
            cache = done.past_key_values
            said.append(done.logits)
        padded = torch.cat([torch.zeros(1, 4, dtype=torch.long), IDS], dim=1).repeat(2, 1)
        mask = torch.ones_like(padded)
        mask[0, :4] = 0
        batch = model(input_ids=padded, attention_mask=mask).logits
        made = model.generate(IDS[:, :20], max_new_tokens=10, do_sample=False, eos_token_id=None)
        again = logits(model, made)
    torch.testing.assert_close(torch.cat(said, dim=1), whole, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(batch[0, 4:], whole[0], rtol=1e-4, atol=1e-4)
    assert torch.equal(again[0, 19:-1].argmax(-1), made[0, 20:])


def test_an_inner_patch_stands_before_the_outer(lab):
    model = lab.model
    one, two = (Patch(Activations((1,), (4,), np.full((1, 1, 64), value))) for value in (1.0, -1.0))
    with EditContext(model, Edit(patch=two)):
        expected = logits(model)
    with EditContext(model, Edit(patch=one)):
        outer = logits(model)
        with EditContext(model, Edit(patch=two)) as merged:
            assert merged.patch == (one, two)
            assert torch.equal(logits(model), expected)
        assert torch.equal(logits(model), outer)
    assert not torch.equal(outer, expected)


@pytest.mark.parametrize("family", DECODERS)
def test_other_decoders_of_transformers(family):
    model = tiny_decoder(family)
    ids, other = torch.arange(1, 20)[None], torch.arange(40, 21, -1)[None]
    last = len(layers_of(model)) - 1
    with EditContext(model, Edit(patch=Activations((last,), tuple(range(19)), residual(model, other, last)))):
        assert torch.equal(logits(model, ids), logits(model, other))


def test_compare_and_files_take_a_patched_trace(lab, tmp_path):
    source = lab.activations("Hello there", layers=[1], positions=[4])
    edit = Edit(patch=Patch(source, positions=[6]))
    plain = lab.trace("Hello there", max_new_tokens=4)
    patched = lab.trace("Hello there", max_new_tokens=4, edit=edit)
    assert Edit.from_dict(patched.meta["edit"]) == edit
    assert gl.open_trace(patched.save(tmp_path / "a.trace")).equal(patched)
    assert patched.generation.logprobs.tolist() != plain.generation.logprobs.tolist()
    assert gl.compare(plain, patched).names == ("tiny", "tiny, edited")
    with pytest.raises(BadEdit, match=r"names token 500; .* are read and written at most"):
        lab.trace("Hello there", edit=Edit(patch=Patch(source, positions=[500])))


def test_what_a_model_does_not_have_is_named(lab):
    with pytest.raises(BadEdit, match="Layer 99 of tiny does not exist; a patch names it"):
        lab.edit(patch=Activations((99,), (0,), np.zeros((1, 1, 64))))
    with pytest.raises(BadEdit, match=r"A patch of width 8, from model, does not fit tiny.* 64 wide"):
        lab.edit(patch=Activations((0,), (0,), np.zeros((1, 1, 8))))
    with pytest.raises(BadEdit, match="There is no layer 99"):
        lab.activations("Hello", layers=[99])
    with pytest.raises(BadEdit, match="There is no position 500"):
        lab.activations("Hello", positions=[500])
    # a mask and a fraction would be read as other positions
    for wrong in ([2.7], ["1"], [float("nan")], [None], np.array([True, False, True])):
        with pytest.raises(BadEdit, match="no position"):
            lab.activations("Hello", layers=[0], positions=wrong)


def test_a_run_that_is_stopped_gives_none():
    probe = ActivationProbe((0,), (2,), 64)
    with pytest.raises(BadTrace, match="0 of 1 activations were read"):
        probe.result()

"""Standing beside a model's attention: the same bits, every call seen, masks changed, all of it undone."""

from __future__ import annotations

import pytest
import torch
from support import shapes
from support.decoders import DECODERS, tiny_decoder
from support.moe import hooks

from gemma_lab.errors import LabError
from gemma_lab.trace.probes.attention.interface import AttentionTaps
from gemma_lab.trace.probes.attention.taps import AttentionTap
from gemma_lab.trace.probes.model_modules import attentions, vision_attentions


class Notes(AttentionTap):
    """Notes what it sees."""

    def __init__(self):
        self.seen, self.outputs, self.towers = [], [], []

    def on_attention(self, layer, module, query, key, value, mask, is_causal, positions, scaling):
        assert value.shape == key.shape
        self.seen.append((layer, query.shape[2], key.shape[2], mask is None, is_causal))

    def on_output(self, layer, output):
        self.outputs.append((layer, tuple(output.shape)))

    def on_tower_attention(self, tower, layer, module, query, key, mask, scaling):
        self.towers.append((tower, layer))


class Blind(AttentionTap):
    """Hides the first key of one layer."""

    def __init__(self, layer):
        self.layer = layer

    def edit_mask(self, layer, module, query, key, mask):
        if layer != self.layer:
            return mask
        queries, keys = query.shape[2], key.shape[2]
        own = torch.ones(queries, keys, dtype=torch.bool).tril()[None, None] if mask is None else mask.clone()
        own[..., 1:, 0] = False
        return own


@pytest.fixture(scope="module")
def model():
    return shapes.tiny_model("E2B")


IDS = torch.arange(300, 330)[None]


def implementations(model):
    configs = [model.config.get_text_config(), *(m.config for m in attentions(model).values())]
    return {config._attn_implementation for config in configs}


@pytest.mark.parametrize("implementation", ["sdpa", "eager"])
@pytest.mark.parametrize("size", shapes.SIZES)
@torch.no_grad()
def test_outputs_are_the_same_bits(size, implementation):
    model = shapes.tiny_model(size)
    for config in (model.config.get_text_config(), *(m.config for m in attentions(model).values())):
        config._attn_implementation_internal = implementation
    asked = {"max_new_tokens": 4, "do_sample": False, "output_logits": True, "return_dict_in_generate": True}
    plain, alone = model(input_ids=IDS).logits, model.generate(IDS, **asked)
    notes = Notes()
    with AttentionTaps(model, [notes]):
        assert torch.equal(model(input_ids=IDS).logits, plain)
        watched = model.generate(IDS, **asked)
    assert all(map(torch.equal, watched.logits, alone.logits))
    assert torch.equal(watched.sequences, alone.sequences)
    assert implementations(model) == {implementation}
    assert len(notes.seen) == 5 * len(attentions(model))  # a call, the prompt, three steps


@pytest.mark.parametrize("family", DECODERS)
@torch.no_grad()
def test_other_families(family):
    model, notes = tiny_decoder(family), Notes()
    plain = model(input_ids=IDS % 60).logits
    with AttentionTaps(model, [notes]):
        assert torch.equal(model(input_ids=IDS % 60).logits, plain)
    assert [layer for layer, *_ in notes.seen] == [0, 1, 2]
    assert notes.outputs == [(layer, (1, 30, 4, 8)) for layer in range(3)]


@torch.no_grad()
def test_a_kv_shared_tail_is_seen_whole_and_the_first_watcher_to_leave_stays_out(model):
    one, two = Notes(), Notes()
    plain = model(input_ids=IDS, logits_to_keep=1).logits
    with AttentionTaps(model, [one]):
        with AttentionTaps(model, [two]):
            assert torch.equal(model(input_ids=IDS, logits_to_keep=1).logits, plain)
        model(input_ids=IDS, logits_to_keep=1)
    assert (len(one.seen), len(two.seen)) == (20, 10)
    assert {queries for _, queries, *_ in one.seen} == {30}
    assert [layer for layer, *_ in two.seen] == list(range(10))


@torch.no_grad()
def test_masks_are_changed_where_a_watcher_says_so_and_nowhere_else(model):
    plain = model(input_ids=IDS, output_hidden_states=True).hidden_states
    for layer in (0, 4):  # one with a mask, one that is causal without
        with AttentionTaps(model, [AttentionTap(), Blind(layer)]):
            blind = model(input_ids=IDS, output_hidden_states=True).hidden_states
        assert torch.equal(blind[layer], plain[layer])
        assert torch.equal(
            blind[layer + 1][:, 0], plain[layer + 1][:, 0]
        )  # the first token sees itself alone
        assert not torch.equal(blind[layer + 1][:, 1], plain[layer + 1][:, 1])
    assert all(map(torch.equal, model(input_ids=IDS, output_hidden_states=True).hidden_states, plain))


@torch.no_grad()
def test_nothing_is_left_behind_after_an_exception(model):
    before = hooks(model)

    class Broken(AttentionTap):
        def on_attention(self, *_):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), AttentionTaps(model, [Broken()]):
        model(input_ids=IDS)
    assert hooks(model) == before
    assert implementations(model) == {"sdpa"}


def test_towers_are_watched_when_asked_for(model):
    notes, places = (
        Notes(),
        torch.stack(torch.meshgrid(*[torch.arange(6)] * 2, indexing="xy"), -1).view(1, 36, 2),
    )
    pixels = torch.rand(1, 36, 3 * 16 * 16)
    tower = model.model.vision_tower
    with torch.no_grad():
        plain = tower(pixels, places).last_hidden_state
        with AttentionTaps(model, [notes]):
            tower(pixels, places)
        assert notes.towers == []
        with AttentionTaps(model, [notes], towers=True):
            assert torch.equal(tower(pixels, places).last_hidden_state, plain)
    assert notes.towers == [("vision", layer) for layer in range(len(vision_attentions(model)))]
    assert {module.config._attn_implementation for module in vision_attentions(model)} == {"sdpa"}


def test_what_cannot_be_watched_is_said(model):
    config = model.config.get_text_config()
    config._attn_implementation_internal = "flex_attention"
    try:
        with pytest.raises(LabError, match="flex_attention"), AttentionTaps(model, []):
            pass
        assert config._attn_implementation == "flex_attention"
    finally:
        config._attn_implementation_internal = "sdpa"
    with pytest.raises(LabError, match="no layers"), AttentionTaps(torch.nn.Linear(2, 2), []):
        pass


@torch.no_grad()
def test_a_static_cache_stays_causal_in_the_tail(model):
    asked = {
        "max_new_tokens": 3, "do_sample": False, "cache_implementation": "static", "output_logits": True,
        "return_dict_in_generate": True, "disable_compile": True,
    }  # fmt: skip
    alone = model.generate(IDS, **asked)
    with AttentionTaps(model, [Notes()]):
        watched = model.generate(IDS, **asked)
    for one, other in zip(watched.logits, alone.logits, strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-5)

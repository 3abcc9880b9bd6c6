"""Probes come off again, whatever happens, and nothing that the model computes changes."""

from __future__ import annotations

import pytest
import torch
from support import shapes
from support.moe import hooks, tiny

from gemma_lab.errors import BadTrace, LabError
from gemma_lab.trace.probes.recorder import Recorder
from gemma_lab.trace.probes.routing import RoutingProbe

IDS = torch.arange(1, 25).reshape(2, 12)


@pytest.mark.parametrize("size", shapes.SIZES)
def test_logits_are_bit_identical_and_no_hook_is_left(tiny_lab, size):
    model = tiny_lab(size).model
    ids = IDS + 120
    before = hooks(model)
    with torch.no_grad():
        plain = model(input_ids=ids).logits
        with Recorder(model, [RoutingProbe()]) as recorder:
            traced = model(input_ids=ids).logits
    assert torch.equal(plain, traced)
    assert hooks(model) == before
    assert recorder.lengths == [12, 12]


def test_an_exception_in_the_model_leaves_no_hook_and_no_half_pass(monkeypatch):
    model = tiny("mixtral")
    probe = RoutingProbe()
    with torch.no_grad():
        recorder = Recorder(model, [probe])
        with recorder:
            model(IDS)
            last = model.model.layers[-1].mlp
            monkeypatch.setattr(last, "forward", lambda *_a, **_k: (_ for _ in ()).throw(KeyboardInterrupt))
            with pytest.raises(KeyboardInterrupt):
                model(IDS)
            monkeypatch.undo()
            model(IDS[:, :3])
    assert recorder.lengths == [15, 15]
    assert len(probe.result()) == 15
    assert hooks(model) == {}


def test_an_exception_in_the_block_leaves_no_hook():
    model = tiny("olmoe")
    with pytest.raises(KeyboardInterrupt), Recorder(model, [RoutingProbe()]):
        raise KeyboardInterrupt
    assert hooks(model) == {}


def test_a_probe_that_cannot_attach_leaves_no_hook():
    class Broken(RoutingProbe):
        def attach(self, model, hooks):
            super().attach(model, hooks)
            raise RuntimeError("no")

    model = tiny("olmoe")
    with pytest.raises(RuntimeError, match="no"), Recorder(model, [RoutingProbe(), Broken()]):
        pytest.fail("it opened")
    assert hooks(model) == {}


def test_recorders_nest_and_each_sees_its_own_block():
    model = tiny("mixtral")
    outer, inner = RoutingProbe(precision="full"), RoutingProbe(precision="full")
    with torch.no_grad(), Recorder(model, [outer]):
        model(IDS)
        with Recorder(model, [inner]):
            model(IDS)
        model(IDS)
    assert (len(outer.result()), len(inner.result())) == (36, 12)
    assert outer.result().select(slice(12, 24)) == inner.result()
    assert hooks(model) == {}


def test_one_recorder_opens_once():
    model = tiny("mixtral")
    with Recorder(model, []) as recorder, pytest.raises(LabError, match="already open"), recorder:
        pytest.fail("it opened twice")
    assert hooks(model) == {}


def test_a_call_without_tokens_is_an_error_with_a_hint():
    model = tiny("mixtral")
    with Recorder(model, []), pytest.raises(LabError, match="neither input_ids nor inputs_embeds"):
        model(attention_mask=torch.ones(1, 3))


def test_generate_is_bit_identical_also_from_another_thread(tiny_lab):
    lab = tiny_lab("26B-A4B")
    before = hooks(lab.model)
    alone = [token.id for token in lab.chat("Hello", temperature=0, max_new_tokens=6).tokens]
    probe = RoutingProbe()
    with (
        Recorder(lab.model, [probe]) as recorder,
        lab.stream("Hello", temperature=0, max_new_tokens=6) as said,
    ):
        streamed = [token.id for chunk in said for token in chunk.tokens]
    assert streamed == alone
    assert said.reply.prompt_tokens + len(alone) - 1 == recorder.lengths[0] == len(probe.result())
    assert hooks(lab.model) == before


def test_a_stream_that_is_left_early_keeps_whole_passes(tiny_lab):
    lab = tiny_lab("26B-A4B")
    probe = RoutingProbe()
    with Recorder(lab.model, [probe]) as recorder:
        for chunk in lab.stream("Hello", temperature=0, max_new_tokens=50):
            assert chunk.tokens
            break
    assert 0 < recorder.lengths[0] == len(probe.result())
    assert recorder.lengths[0] < lab.last_reply.prompt_tokens + 50


@pytest.mark.parametrize("entrance", ["model", "body", "decoder"])
def test_the_body_and_the_decoder_may_be_called_themselves(tiny_lab, entrance):
    model = tiny_lab("26B-A4B").model
    called = {"model": model, "body": model.model, "decoder": model.model.language_model}[entrance]
    whole, part = RoutingProbe(), RoutingProbe()
    with torch.no_grad():
        with Recorder(model, [whole]):
            model(input_ids=IDS + 120)
        with Recorder(model, [part]) as recorder:
            called(input_ids=IDS + 120)
    assert recorder.lengths == [12, 12]
    assert part.result(1) == whole.result(1)


def test_arguments_may_be_given_by_place_and_as_embeddings():
    model = tiny("olmoe")
    mask = torch.ones_like(IDS)
    mask[1, :5] = 0
    lengths = []
    with torch.no_grad():
        for call in (
            lambda: model(IDS, mask),
            lambda: model(inputs_embeds=model.get_input_embeddings()(IDS), attention_mask=mask),
        ):
            with Recorder(model, [RoutingProbe()]) as recorder:
                call()
            lengths.append(recorder.lengths)
    assert lengths == [[12, 7], [12, 7]]


def test_a_cache_that_is_rewound_is_refused():
    model = tiny("mixtral")
    with torch.no_grad(), Recorder(model, [RoutingProbe()]):
        cache = model(IDS, use_cache=True).past_key_values
        model(IDS[:, :1], past_key_values=cache)
        cache.crop(-3)  # as speculative decoding does with what it guessed wrong
        with pytest.raises(BadTrace, match="holds 10 positions where 13 were read"):
            model(IDS[:, :1], past_key_values=cache)
    assert hooks(model) == {}


def test_a_cache_from_before_is_gone_on_with():
    model = tiny("mixtral")
    with torch.no_grad():
        cache = model(IDS[:, :8], use_cache=True).past_key_values
        with Recorder(model, [RoutingProbe()]) as recorder:
            model(IDS[:, 8:10], past_key_values=cache)
            model(IDS[:, 10:], past_key_values=cache)
    assert recorder.lengths == [4, 4]


def test_another_batch_needs_another_recorder():
    model = tiny("mixtral")
    with torch.no_grad(), Recorder(model, [RoutingProbe()]):
        model(IDS)
        with pytest.raises(BadTrace, match="1 sequences came after passes of 2"):
            model(IDS[:1])


def test_a_mask_that_does_not_say_what_is_padding_is_refused():
    model = tiny("mixtral")
    with torch.no_grad(), Recorder(model, [RoutingProbe()]), pytest.raises(BadTrace, match="object"):
        model(IDS, attention_mask=object())

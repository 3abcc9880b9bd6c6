"""Positions count tokens, through pieces, padding and caches of a fixed size."""

from __future__ import annotations

import pytest
import torch
from support import shapes
from support.moe import hooks

from gemma_lab.trace.probes.model_modules import attentions
from gemma_lab.trace.probes.positions import PADDING, PositionTracker


@pytest.fixture(scope="module")
def model():
    return shapes.tiny_model("31B")


def seen(model, *calls, layer=0, generate=None):
    """The positions of queries that a layer has, call by call."""
    passes, found = PositionTracker(), []
    handles = passes.attach(model)
    module = attentions(model)[layer]
    handles.append(
        module.register_forward_pre_hook(
            lambda _m, _a, given: found.append(passes.queries(given["hidden_states"].shape[1]).tolist()),
            with_kwargs=True,
        )
    )
    try:
        cache = None
        for call in calls:
            with torch.no_grad():
                cache = model(**call, past_key_values=cache, use_cache=True).past_key_values
        if generate is not None:
            model.generate(generate, max_new_tokens=3, do_sample=False, eos_token_id=None)
    finally:
        for handle in handles:
            handle.remove()
    return found, passes


def test_pieces_go_on_counting(model):
    before = hooks(model)
    found, passes = seen(model, {"input_ids": torch.arange(5)[None]}, {"input_ids": torch.arange(3)[None]})
    assert found == [[[0, 1, 2, 3, 4]], [[5, 6, 7]]]
    assert passes.keys(3).tolist() == [[5, 6, 7]]
    assert passes.keys(10).tolist() == [[0, 1, 2, 3, 4, 5, 6, 7, 8, 9]]
    assert hooks(model) == before


def test_what_is_written_goes_on(model):
    found, _ = seen(model, generate=torch.arange(30, 34)[None])
    assert found == [[[0, 1, 2, 3]], [[4]], [[5]]]


def test_padding_has_no_position(model):
    mask = torch.tensor([[0, 0, 1, 1], [1, 1, 1, 1]])
    found, passes = seen(model, {"input_ids": torch.ones(2, 4, dtype=torch.long), "attention_mask": mask})
    assert found == [[[PADDING, PADDING, 0, 1], [0, 1, 2, 3]]]
    assert passes.keys(2).tolist() == [[0, 1], [2, 3]]


def test_a_pass_that_failed_does_not_hide_the_next(model):
    passes = PositionTracker()
    handles = passes.attach(model)
    stop = model.get_decoder().layers[1].register_forward_pre_hook(lambda *_: 1 / 0)
    try:
        with pytest.raises(ZeroDivisionError):
            model(input_ids=torch.arange(9)[None])
        stop.remove()
        model(input_ids=torch.arange(4)[None])
        assert passes.queries(4).tolist() == [[0, 1, 2, 3]]
    finally:
        for handle in [*handles, stop]:
            handle.remove()


def test_a_decoder_that_is_called_alone(model):
    passes = PositionTracker()
    handles = passes.attach(model)
    try:
        model.get_decoder()(inputs_embeds=torch.zeros(1, 6, 64))
        assert passes.queries(6).tolist() == [[0, 1, 2, 3, 4, 5]]
    finally:
        for handle in handles:
            handle.remove()

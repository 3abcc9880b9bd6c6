"""Positions count tokens, through pieces, padding and caches of a fixed size."""

from __future__ import annotations

import pytest
import torch
from support import shapes
from support.moe import hooks

from gemma_lab.errors import BadTrace
from gemma_lab.models.loading.restore import RestoreStack
from gemma_lab.trace.probes.model_modules import attentions
from gemma_lab.trace.probes.padding import real_positions
from gemma_lab.trace.probes.positions import PADDING, PositionTracker


@pytest.fixture(scope="module")
def model():
    return shapes.tiny_model("31B")


def seen(model, *calls, layer=0, generate=None):
    """The positions of queries that a layer has, call by call."""
    tracker, found = PositionTracker(), []
    with RestoreStack() as restore, torch.no_grad():
        tracker.attach(model, restore)
        restore.hook(
            attentions(model)[layer],
            lambda _m, _a, given: found.append(tracker.queries(given["hidden_states"].shape[1]).tolist()),
            before=True,
            with_kwargs=True,
        )
        cache = None
        for call in calls:
            cache = model(**call, past_key_values=cache, use_cache=True).past_key_values
        if generate is not None:
            model.generate(generate, max_new_tokens=3, do_sample=False, eos_token_id=None)
    return found, tracker


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
    tracker = PositionTracker()
    with RestoreStack() as restore:
        tracker.attach(model, restore)
        with RestoreStack() as broken, pytest.raises(ZeroDivisionError):  # noqa: PT012
            broken.hook(model.get_decoder().layers[1], lambda *_: 1 / 0, before=True)
            model(input_ids=torch.arange(9)[None])
        model(input_ids=torch.arange(4)[None])
        assert tracker.queries(4).tolist() == [[0, 1, 2, 3]]


def test_a_decoder_that_is_called_alone(model):
    tracker = PositionTracker()
    with RestoreStack() as restore:
        tracker.attach(model, restore)
        model.get_decoder()(inputs_embeds=torch.zeros(1, 6, 64))
        assert tracker.queries(6).tolist() == [[0, 1, 2, 3, 4, 5]]


def test_the_mask_of_a_batch_must_be_readable():
    with pytest.raises(BadTrace, match="str"):
        real_positions("all", rows=2, end=3)
    assert real_positions("all", rows=1, end=3) is None
    assert real_positions(torch.tensor([[0, 1]]), rows=1, end=3).tolist() == [[True, False, True]]

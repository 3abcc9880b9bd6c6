"""A KV-shared tail is read for every row, and its last row stays what the model itself computes."""

from __future__ import annotations

import pytest
import torch
from support import shapes

from gemma_lab.errors import BadTrace
from gemma_lab.trace.probes.kv_shared_layers import FullPrefill
from gemma_lab.trace.probes.model_modules import decoder_of

IDS = torch.arange(300, 340)[None]


@pytest.fixture(scope="module")
def model():
    return shapes.tiny_model("E4B")


def outputs(model, layer, kept):
    return (
        decoder_of(model).layers[layer].register_forward_hook(lambda *given: kept.append(given[-1].clone()))
    )


@pytest.mark.parametrize("layer", [6, 11])
@torch.no_grad()
def test_hooks_on_the_tail_meet_every_row(model, layer):
    kept = []
    hook = outputs(model, layer, kept)
    try:
        whole = model(input_ids=IDS, use_cache=False).logits[:, -1:]
        sliced = model(input_ids=IDS, use_cache=False, logits_to_keep=1).logits
        with FullPrefill(model), FullPrefill(model):
            read = model(input_ids=IDS, use_cache=False, logits_to_keep=1).logits
    finally:
        hook.remove()
    assert [rows.shape[1] for rows in kept] == [40, 1, 1, 40]
    torch.testing.assert_close(kept[3], kept[0], atol=1e-5, rtol=1e-5)
    assert torch.equal(read, sliced)
    torch.testing.assert_close(read, whole, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_the_cache_is_that_of_a_run_without(model):
    alone = model(input_ids=IDS, use_cache=True, logits_to_keep=1).past_key_values
    with FullPrefill(model):
        read = model(input_ids=IDS, use_cache=True, logits_to_keep=1).past_key_values
    for one, other in zip(alone.layers, read.layers, strict=True):
        assert (one.keys is None) == (other.keys is None)
        assert one.keys is None or torch.equal(one.keys, other.keys)


@torch.no_grad()
def test_a_model_without_a_tail_is_left_alone():
    model, kept = shapes.tiny_model("31B"), []
    hook = outputs(model, 5, kept)
    with FullPrefill(model):
        model(input_ids=IDS, use_cache=False, logits_to_keep=1)
    hook.remove()
    assert [rows.shape[1] for rows in kept] == [40]


@torch.no_grad()
def test_rows_that_are_changed_behind_its_back_are_refused(model):
    with FullPrefill(model):
        hook = decoder_of(model).layers[5].register_forward_hook(lambda *given: given[-1] + 1)
        with pytest.raises(BadTrace, match="other rows than layer 5"):
            model(input_ids=IDS, use_cache=False, logits_to_keep=1)
        hook.remove()
        model(input_ids=IDS, use_cache=False, logits_to_keep=1)

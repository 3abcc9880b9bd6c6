"""What can be said about a picture is learned at the token that ends it."""

from __future__ import annotations

import random

import pytest
import torch

from gemma_lab.minis.architecture import ENCODER_FREE, SHAPES, mini_config, new_model
from gemma_lab.minis.batches import Batcher
from gemma_lab.minis.encoding import Row
from gemma_lab.minis.media_inputs import ENCODED, RAW
from gemma_lab.minis.picture_probe import CLASSES, SECONDS, PictureProbe
from gemma_lab.minis.tasks.cells import ALL_SHAPES, NEWS, UNKNOWN
from gemma_lab.minis.tokenizer import token_id

_SEEN = {"digits": {"digit"}, "scenes": {"count"}, "motion": {"happened", "which", "second"}}


@pytest.mark.parametrize("skill", _SEEN)
def test_a_picture_is_described_at_the_token_that_ends_it_and_nowhere_else(skill, tokenizer):
    batcher = Batcher(tokenizer, random.Random(0))
    batch = batcher.batch([batcher.row(skill, grid=2) for _ in range(4)], grid=2)
    ends = batch.inputs["input_ids"] == token_id("eoi_token")
    assert set(batch.pictures) == set(CLASSES)
    for kind, found in batch.pictures.items():
        assert (found[~ends] == UNKNOWN).all()
        known = found[ends] != UNKNOWN
        assert known.any() == (kind in _SEEN[skill])
        assert (found[ends][known] < CLASSES[kind]).all()


def test_the_frames_of_a_clip_say_when_something_happens_and_to_what(tokenizer):
    batcher = Batcher(tokenizer, random.Random(3))
    happened = 0
    for _ in range(30):
        row = batcher.row("motion", grid=1, length=1)
        batch = batcher.batch([row], grid=1)
        ends = batch.inputs["input_ids"][0] == token_id("eoi_token")
        kinds, shapes, seconds = (batch.pictures[one][0, ends] for one in ("happened", "which", "second"))
        assert seconds.tolist() == [int(at) for clip in row.clips for at in clip.times]
        assert kinds[0] == shapes[0] == UNKNOWN  # nothing comes before the first
        assert ((kinds[1:] > 0) == (shapes[1:] > 0)).all()
        if set(kinds[1:].tolist()) - {0} == {NEWS.index("other colour")}:
            assert (kinds[1:] > 0).sum() == 1  # the colour changes once
            happened += 1
        named = {ALL_SHAPES[shape - 1] for shape in shapes[1:].tolist() if shape > 0}
        assert len(named) == 1
    assert happened


def test_a_row_that_says_nothing_about_its_pictures_is_unknown(tokenizer):
    batcher = Batcher(tokenizer, random.Random(0))
    quiet = batcher.row("names")
    assert all((found == UNKNOWN).all() for found in batcher.batch([quiet]).pictures.values())
    clip = Row("motion", [token_id("eoi_token")], pictures=[{"second": SECONDS}])
    mute = Row("digits", [token_id("eoi_token")], pictures=[{}])
    for row in (clip, mute):
        batch = batcher.batch([Row(row.skill, row.ids, [UNKNOWN], pictures=row.pictures)])
        assert all((found == UNKNOWN).all() for found in batch.pictures.values())


@pytest.mark.parametrize("name", SHAPES)
def test_the_losses_reach_the_layers_below_the_last_global_one_with_keys_and_none_above(name, tokenizer):
    model = new_model(mini_config(name, len(tokenizer)), seed=0)
    batcher = Batcher(tokenizer, random.Random(0), RAW if name in ENCODER_FREE else ENCODED)
    batch = batcher.batch([batcher.row(skill, grid=1) for skill in _SEEN], grid=1)
    probe = PictureProbe(model)
    model.model(**batch.inputs, use_cache=False)
    losses = probe.losses(batch.pictures)
    assert set(losses) == set(CLASSES)
    assert all(float(loss.detach()) > 0 for loss in losses.values())
    torch.autograd.backward(torch.stack([*losses.values()]).sum())
    last = {6: 4, 10: 3, 12: 10}[model.config.text_config.num_hidden_layers]
    for number, layer in enumerate(model.model.language_model.layers):
        grad = layer.self_attn.q_proj.weight.grad
        assert (grad is not None and bool(grad.abs().sum() > 0)) == (number <= last)

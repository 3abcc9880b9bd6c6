"""The lower layers of a mini without encoders, run alone."""

from __future__ import annotations

import random

import pytest
import torch

from gemma_lab.minis.architecture import mini_config, new_model
from gemma_lab.minis.audio_pretraining import drawn as sounds
from gemma_lab.minis.batches import Batcher
from gemma_lab.minis.lower_layers import LowerLayers, lower_layers
from gemma_lab.minis.media_inputs import RAW
from gemma_lab.minis.vision_pretraining import drawn as pictures


@pytest.fixture(scope="module")
def model(tokenizer):
    return new_model(mini_config("mini-unified", len(tokenizer)), seed=0)


@torch.no_grad()
def test_they_have_the_residual_stream_of_the_whole_model_and_leave_it_whole(model, tokenizer):
    batcher = Batcher(tokenizer, random.Random(0), RAW)
    inputs = batcher.batch([batcher.row(skill, grid=2) for skill in ("digits", "speech")], grid=2).inputs
    before = len(model.model.language_model.layers[5]._forward_hooks)
    LowerLayers(model).hidden(inputs)
    assert len(model.model.language_model.layers[5]._forward_hooks) == before
    whole = model.model(**inputs, use_cache=False, output_hidden_states=True)
    assert lower_layers(model.config) == 6
    torch.testing.assert_close(LowerLayers(model).hidden(inputs), whole.hidden_states[6])
    again = model.model(**inputs, use_cache=False).last_hidden_state
    torch.testing.assert_close(again, whole.last_hidden_state)


@torch.no_grad()
def test_an_image_and_a_sound_are_perceived_by_themselves_whatever_stands_beside_them(model):
    lower = LowerLayers(model)
    pixels, positions = RAW.images(pictures(random.Random(0), pictures=3, grid=3)[0], 3)
    seen = lower.see(pixels, positions)
    assert seen.shape == (3, 9, 128)
    torch.testing.assert_close(seen[1:2], lower.see(pixels[1:2], positions[1:2]), atol=1e-4, rtol=1e-4)
    clips = sounds(random.Random(0), sounds=3)[0]
    heard, real = lower.hear(*RAW.sounds(clips))
    assert real.sum(1).tolist() == [RAW.soft_tokens(clip) for clip in clips]
    alone, _ = lower.hear(*RAW.sounds(clips[:1]))
    torch.testing.assert_close(heard[:1][real[:1]], alone[0], atol=1e-4, rtol=1e-4)

"""Media are cut as Gemma 4's processor cuts them."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch

from gemma_lab.minis.architecture import new_processor
from gemma_lab.minis.media_inputs import ENCODED, RAW, patches
from gemma_lab.minis.tasks import digits

_KINDS = pytest.mark.parametrize(("media", "without"), [(ENCODED, False), (RAW, True)])


@pytest.mark.parametrize(("per_side", "without"), [(3, False), (1, True)])
def test_patches_lie_as_the_processor_lays_them(per_side, without, tokenizer):
    picture = digits.draw(3, random.Random(0), size=384)  # already 8 × 8 soft tokens: nothing is resized
    mine, positions = patches(picture, 8, per_side=per_side)
    processor = new_processor(tokenizer, without_encoders=without)
    theirs = processor.image_processor(picture, return_tensors="pt")
    count = len(mine)
    torch.testing.assert_close(mine, theirs["pixel_values"][0, :count], atol=1e-6, rtol=0)
    assert torch.equal(positions, theirs["image_position_ids"][0, :count])


@_KINDS
def test_a_sound_has_the_soft_tokens_that_the_processor_puts_into_the_prompt(media, without, tokenizer):
    processor = new_processor(tokenizer, without_encoders=without)
    for samples in (1_600, 9_001, 16_000, 41_234):
        sound = np.random.default_rng(samples).normal(0, 0.1, samples).astype(np.float32)
        inputs = processor(text=["<|audio|>"], audio=[sound], return_tensors="pt")
        placeholders = (inputs["input_ids"] == processor.audio_token_id).sum()
        assert media.soft_tokens(sound) == int(placeholders)
        features, real = media.sounds([sound])
        count = int(real.sum())
        torch.testing.assert_close(features[0, :count], inputs["input_features"][0, :count])

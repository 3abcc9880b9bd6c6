"""Media are cut as Gemma 4's processor cuts them."""

from __future__ import annotations

import random

import numpy as np
import torch

from gemma_lab.minis.architecture import new_processor
from gemma_lab.minis.tasks import digits
from gemma_lab.minis.media_inputs import encoded_soft_tokens, mel, patches


def test_patches_lie_as_the_processor_lays_them(tokenizer):
    picture = digits.draw(3, random.Random(0), size=384)  # already 24 × 24 patches: nothing is resized
    mine, positions = patches(picture, 8)
    theirs = new_processor(tokenizer).image_processor(picture, return_tensors="pt")
    count = len(mine)
    torch.testing.assert_close(mine, theirs["pixel_values"][0, :count], atol=1e-6, rtol=0)
    assert torch.equal(positions, theirs["image_position_ids"][0, :count])


def test_a_sound_has_the_soft_tokens_that_the_processor_puts_into_the_prompt(tokenizer):
    processor = new_processor(tokenizer)
    for samples in (1_600, 9_001, 16_000, 41_234):
        sound = np.random.default_rng(samples).normal(0, 0.1, samples).astype(np.float32)
        inputs = processor(text=["<|audio|>"], audio=[sound], return_tensors="pt")
        placeholders = (inputs["input_ids"] == processor.audio_token_id).sum()
        assert encoded_soft_tokens(sound) == int(placeholders)
        features, real = mel([sound])
        count = int(real.sum())
        torch.testing.assert_close(features[0, :count], inputs["input_features"][0, :count])

"""The probe that teaches the vision tower first."""

from __future__ import annotations

import random

import pytest
import torch

from gemma_lab.minis.architecture import mini_moe_config, new_model
from gemma_lab.minis.sight import Sight, draw


@pytest.fixture(scope="module")
def sight():
    return Sight(new_model(mini_moe_config(512), seed=0))


def test_pictures_come_as_patches_with_their_digits():
    pixels, positions, truth = draw(random.Random(0), pictures=3, grid=2)
    assert (pixels.shape, positions.shape, truth.shape) == ((3, 36, 768), (3, 36, 2), (3,))
    assert truth.max() <= 9


def test_a_picture_is_judged_by_itself_whatever_stands_beside_it(sight):
    pixels, positions, _ = draw(random.Random(0), pictures=3, grid=2)
    with torch.no_grad():
        together, alone = sight.logits(pixels, positions), sight.logits(pixels[1:2], positions[1:2])
    assert together.shape == (3, 10)
    torch.testing.assert_close(together[1:2], alone, atol=1e-5, rtol=1e-5)


def test_the_loss_teaches_the_tower_and_not_the_decoder(sight):
    loss = sight.loss(random.Random(0), pictures=2, grid=2)
    torch.autograd.backward(loss)
    model = sight.model.model
    assert model.vision_tower.patch_embedder.input_proj.weight.grad.abs().sum() > 0
    assert model.language_model.layers[0].mlp.up_proj.weight.grad is None

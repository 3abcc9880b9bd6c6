"""The probe that teaches the vision tower first."""

from __future__ import annotations

import random

import pytest
import torch

from gemma_lab.minis.architecture import mini_config, new_model
from gemma_lab.minis.sight import Sight, drawn
from gemma_lab.minis.soft import stacked_patches


@pytest.fixture(scope="module")
def sight():
    return Sight(new_model(mini_config("mini-moe", 512), seed=0))


def test_pictures_come_with_what_can_be_told_of_each():
    images, truth = drawn(random.Random(0), pictures=40)
    assert len(images) == 40
    assert {kind: len(labels) for kind, labels in truth.items()} == dict.fromkeys(truth, 40)
    digits = truth["digit"] != -100
    assert digits.sum() == 20
    assert ((truth["count"] == -100) == digits).all()
    alone = truth["count"] == 0
    assert alone.any()
    assert ((truth["colour"] != -100) == alone).all()
    assert ((truth["shape"] != -100) == alone).all()


def test_a_picture_is_judged_by_itself_whatever_stands_beside_it(sight):
    images, _ = drawn(random.Random(0), pictures=3)
    pixels, positions = stacked_patches(images, 2)
    with torch.no_grad():
        together, alone = sight.logits(pixels, positions), sight.logits(pixels[1:2], positions[1:2])
    assert {kind: found.shape for kind, found in together.items()} == {
        "digit": (3, 10), "colour": (3, 6), "shape": (3, 4), "count": (3, 4),
    }  # fmt: skip
    for kind, found in together.items():
        torch.testing.assert_close(found[1:2], alone[kind], atol=1e-5, rtol=1e-5)


def test_the_loss_teaches_the_tower_and_not_the_decoder(sight):
    loss = sight.loss(random.Random(0), pictures=2, grid=2)
    torch.autograd.backward(loss)
    model = sight.model.model
    assert model.vision_tower.patch_embedder.input_proj.weight.grad.abs().sum() > 0
    assert model.language_model.layers[0].mlp.up_proj.weight.grad is None

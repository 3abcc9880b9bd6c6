"""The probes that teach the vision tower first."""

from __future__ import annotations

import random

import pytest
import torch

from gemma_lab.minis.architecture import mini_config, new_model
from gemma_lab.minis.media_inputs import stacked_patches
from gemma_lab.minis.tasks.drawing import Thing
from gemma_lab.minis.vision_pretraining import VisionProbe, cells, drawn


@pytest.fixture(scope="module")
def sight():
    return VisionProbe(new_model(mini_config("mini-moe", 512), seed=0))


def test_pictures_come_with_what_can_be_told_of_each():
    images, truth = drawn(random.Random(0), pictures=30, grid=4)
    assert len(images) == 30
    assert {kind: tuple(labels.shape) for kind, labels in truth.items()} == {
        "digit": (30,), "count": (30,),
        "colour": (30, 16), "shape": (30, 16), "column": (30, 16), "row": (30, 16),
    }  # fmt: skip
    digits = truth["digit"] != -100
    assert digits.sum() == 10
    assert ((truth["count"] == -100) == digits).all()
    assert (truth["colour"][digits] == -100).all()
    assert (truth["colour"][~digits] > 0).any(1).all()
    assert ((truth["colour"] > 0) == (truth["shape"] > 0)).all()


def test_a_soft_token_is_labelled_with_what_it_shows_and_where_it_lies():
    scene = [Thing("blue", "square", 0.3, 0.25, 0.16), Thing("red", "star", 0.8, 0.8, 0.15)]
    labels = cells(scene, 8)
    assert labels[1 * 8 + 2] == (3, 2, 2, 1)  # its centre lies in the square, in column 2 of row 1
    assert labels[6 * 8 + 6] == (1, 4, 6, 6)
    assert labels[7 * 8 + 0] == (0, 0, 0, 7)
    assert labels[2 * 8 + 3] == (-100, -100, 3, 2)  # it may show a corner
    both = [Thing("blue", "square", 0.2, 0.25, 0.1), Thing("red", "star", 0.3, 0.25, 0.1)]
    assert cells(both, 2)[0] == (-100, -100, 2, 2)


def test_a_picture_is_judged_by_itself_whatever_stands_beside_it(sight):
    images, _ = drawn(random.Random(0), pictures=3, grid=2)
    pixels, positions = stacked_patches(images, 2)
    with torch.no_grad():
        together, alone = sight.logits(pixels, positions), sight.logits(pixels[1:2], positions[1:2])
    assert {kind: tuple(found.shape) for kind, found in together.items()} == {
        "digit": (3, 10), "count": (3, 4),
        "colour": (3, 4, 12), "shape": (3, 4, 12), "column": (3, 4, 8), "row": (3, 4, 8),
    }  # fmt: skip
    for kind, found in together.items():
        torch.testing.assert_close(found[1:2], alone[kind], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", ["mini-moe", "mini-edge"])
def test_all_soft_tokens_kept_are_those_of_the_model(name):
    probe = VisionProbe(new_model(mini_config(name, 512), seed=0))
    images, _ = drawn(random.Random(0), pictures=2, grid=3)
    pixels, positions = stacked_patches(images, 3)
    with torch.no_grad():
        whole = torch.stack(list(probe.model.model.get_image_features(pixels, positions).pooler_output))
        some = probe.some(pixels, positions, torch.arange(9))
        torch.testing.assert_close(some, whole, atol=1e-5, rtol=1e-5)
        part = probe.some(pixels, positions, torch.tensor([2, 7]))
    assert part.shape == (2, 2, whole.shape[-1])


def test_a_soft_token_that_is_left_out_is_not_seen(sight):
    images, _ = drawn(random.Random(0), pictures=1, grid=3)
    pixels, positions = stacked_patches(images, 3)
    other = pixels.clone()
    row, column = positions[0, :, 1], positions[0, :, 0]
    fifth = (row // 3 == 1) & (column // 3 == 2)  # soft token 5
    other[0, fifth] = 1 - other[0, fifth]
    kept = torch.tensor([0, 4, 8])
    with torch.no_grad():
        assert torch.equal(sight.some(pixels, positions, kept), sight.some(other, positions, kept))
        with_it = torch.tensor([0, 5, 8])
        assert not torch.equal(sight.some(pixels, positions, with_it), sight.some(other, positions, with_it))


def test_large_images_teach_the_tower_from_some_of_their_soft_tokens():
    probe = VisionProbe(new_model(mini_config("mini-moe", 512), seed=0))
    seen = []
    probe.model.model.vision_tower.patch_embedder.input_proj.register_forward_hook(
        lambda _module, given, _out: seen.append(tuple(given[0].shape[:2]))
    )
    loss = probe.large_loss(random.Random(0), pictures=2, grid=11)
    torch.autograd.backward(loss)
    assert seen == [(2, 900), (2, 24 * 24)]  # 100 of 121 soft tokens, and the usual size to compare with
    assert probe.model.model.vision_tower.encoder.layers[2].mlp.up_proj.linear.weight.grad.abs().sum() > 0


def test_the_loss_teaches_the_tower_and_not_the_decoder(sight):
    loss = sight.loss(random.Random(0), pictures=2, grid=2)
    torch.autograd.backward(loss)
    model = sight.model.model
    assert model.vision_tower.patch_embedder.input_proj.weight.grad.abs().sum() > 0
    assert model.language_model.layers[0].mlp.up_proj.weight.grad is None

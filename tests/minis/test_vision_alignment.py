"""An encoder learns to speak to a decoder that stays as it is."""

from __future__ import annotations

import random

import pytest
import torch

from gemma_lab.errors import LabError
from gemma_lab.minis.architecture import mini_config, new_model
from gemma_lab.minis.checkpoint import write_checkpoint
from gemma_lab.minis.media_inputs import stacked_patches
from gemma_lab.minis.tokenizer import build_tokenizer
from gemma_lab.minis.vision_alignment import VisionAlignment
from gemma_lab.minis.vision_pretraining import drawn

_EYES = ("model.vision_tower.", "model.embed_vision.")


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """Two minis with other weights, and their tokenizer."""
    tokenizer = build_tokenizer(["the drum"] * 50, vocab_size=400)
    folders = []
    for seed in (1, 2):
        folders.append(tmp_path_factory.mktemp(f"mini{seed}"))
        write_checkpoint(
            new_model(mini_config("mini-moe", len(tokenizer)), seed=seed), tokenizer, folders[-1]
        )
    return tokenizer, folders


def _alignment(published):
    tokenizer, (decoder, encoder) = published
    return VisionAlignment("mini-moe", tokenizer, decoder=decoder, encoder=encoder)


def test_it_has_one_minis_encoder_and_the_others_decoder(published):
    one = _alignment(published)
    made, theirs = one.model.state_dict(), one.teacher.state_dict()
    same = {name for name in made if torch.equal(made[name], theirs[name])}
    assert all(name in same for name in made if not name.startswith(_EYES))
    assert "model.vision_tower.encoder.layers.0.mlp.up_proj.linear.weight" not in same


def test_training_leaves_the_decoder_alone_and_brings_soft_tokens_nearer(published):
    one = _alignment(published)
    before = {name: weight.clone() for name, weight in one.model.state_dict().items()}

    def error():
        images, _ = drawn(random.Random(9), pictures=3, grid=8)
        inputs = stacked_patches(images, 8)
        with torch.no_grad():
            wanted, made = one._theirs.soft_tokens(*inputs), one._mine.soft_tokens(*inputs)
        return float((made - wanted).square().mean() / wanted.var())

    far = error()
    for group in one._optimizer.param_groups:
        group["lr"] = 3e-3
    for _ in range(6):
        losses = one.loss(grid=11, pictures=3)
        assert set(losses) == {"usual", "large", "places"}
        torch.autograd.backward(torch.stack([*losses.values()]).sum())
        one._optimizer.step()
        one._optimizer.zero_grad()
    after = one.model.state_dict()
    assert all(torch.equal(after[name], before[name]) for name in after if not name.startswith(_EYES))
    assert error() < 0.9 * far


def test_an_aligned_encoder_has_no_error_at_the_usual_size(published):
    tokenizer, (decoder, _) = published
    one = VisionAlignment("mini-moe", tokenizer, decoder=decoder, encoder=decoder)
    losses = one.loss(grid=11, pictures=2)
    assert float(losses["usual"].detach()) == 0
    assert float(losses["large"].detach()) > 0


def test_a_mini_without_an_encoder_is_refused(published):
    tokenizer, (decoder, encoder) = published
    with pytest.raises(LabError, match="mini-unified has no vision encoder"):
        VisionAlignment("mini-unified", tokenizer, decoder=decoder, encoder=encoder)

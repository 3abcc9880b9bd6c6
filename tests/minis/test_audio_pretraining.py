"""The probe that teaches the audio tower first."""

from __future__ import annotations

import random

import pytest
import torch

from gemma_lab.minis.architecture import mini_config, new_model
from gemma_lab.minis.audio_pretraining import AudioProbe, drawn
from gemma_lab.minis.media_inputs import mel


@pytest.fixture(scope="module")
def hearing():
    return AudioProbe(new_model(mini_config("mini-edge", 512), seed=0))


def test_sounds_come_with_the_word_that_each_says():
    sounds, words = drawn(random.Random(0), sounds=40)
    assert len(sounds) == 40
    assert all(sound.dtype == "float32" and 0.2 < len(sound) / 16_000 < 3.1 for sound in sounds)
    assert 0 <= words.min() < 10
    assert 70 <= words.max() < 80


def test_what_all_sounds_have_in_common_is_taken_off(hearing):
    features, real = mel(drawn(random.Random(1), sounds=24)[0])

    def spread() -> float:
        with torch.no_grad():
            soft = hearing.model.model.get_audio_features(features, real).pooler_output.mean(1)
        return float(soft.std(0).norm() / soft.mean(0).norm())

    before = spread()
    hearing.centre(random.Random(0), sounds=24)
    assert spread() > 2 * before
    assert not hearing.model.model.audio_tower.output_proj._forward_hooks


def test_the_probe_reaches_the_tower_and_nothing_of_the_decoder(hearing):
    loss = hearing.loss(random.Random(0), sounds=6)
    assert 2 < float(loss.detach()) < 8  # chance among 80 words: 4.4
    loss.backward()
    moved = {
        name.split(".")[1] for name, weight in hearing.model.named_parameters() if weight.grad is not None
    }
    assert moved == {"audio_tower", "embed_audio"}

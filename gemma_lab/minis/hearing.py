"""As `gemma_lab.minis.sight` for the ears: the audio tower alone first learns to tell spoken digits apart."""

from __future__ import annotations

import random
from typing import Any

import torch

from .soft import mel
from .tasks import Question, speech


class Hearing:
    """A probe on the soft tokens of a model's sounds.

    Parameters
    ----------
    model
        A Gemma 4 model with an audio tower.
    """

    def __init__(self, model: Any) -> None:
        self.model = model
        self.probe = torch.nn.Linear(model.config.text_config.hidden_size, 10)

    def loss(self, rng: random.Random, *, sounds: int) -> torch.Tensor:
        """Draw training sounds of one digit each and return the probe's cross-entropy."""
        asked = [_one_digit(rng) for _ in range(sounds)]
        features, real = mel([question.audio for question in asked])
        heard = self.model.model.get_audio_features(features, real)
        soft, kept = heard.pooler_output, heard.attention_mask
        weights = kept.to(soft.dtype)[..., None]
        mean = (soft * weights).sum(1) / weights.sum(1)
        truth = torch.tensor([int(question.answer) for question in asked])
        return torch.nn.functional.cross_entropy(self.probe(mean), truth)


def _one_digit(rng: random.Random) -> Question:
    while True:
        question = speech.ask(rng, False)
        if len(question.answer) == 1 and question.answer.isdigit():
            return question

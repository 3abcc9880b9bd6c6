"""The first minutes of a training: the vision tower alone learns to tell digits apart.

Inside the whole model a tower that starts at random gets almost no signal: the decoder learns to ignore
its noise long before it carries anything. A linear probe on the mean of a picture's soft tokens teaches it
within minutes; the decoder then finds digits that are already there to be read.
"""

from __future__ import annotations

import random
from typing import Any

import torch

from .batches import stacked_patches
from .tasks import digits


class Sight:
    """A probe on the soft tokens of a model's pictures.

    Parameters
    ----------
    model
        A Gemma 4 model with a vision tower and an image projection.
    """

    def __init__(self, model: Any) -> None:
        self.model = model
        self.probe = torch.nn.Linear(model.config.text_config.hidden_size, 10)

    def logits(self, pixels: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
        """Return the probe's logits of the ten digits, shape ``(pictures, 10)``."""
        soft = self.model.model.get_image_features(pixels, positions).pooler_output
        logits: torch.Tensor = self.probe(torch.stack([picture.mean(0) for picture in soft]))
        return logits

    def loss(self, rng: random.Random, *, pictures: int, grid: int) -> torch.Tensor:
        """Draw training pictures of `grid` × `grid` soft tokens and return the probe's cross-entropy."""
        pixels, positions, truth = draw(rng, pictures=pictures, grid=grid)
        return torch.nn.functional.cross_entropy(self.logits(pixels, positions), truth)


def draw(rng: random.Random, *, pictures: int, grid: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return training pictures of digits as patches, their positions, and the digits ``(pictures,)``."""
    asked = [digits.ask(rng, False) for _ in range(pictures)]
    pixels, positions = stacked_patches([question.image for question in asked], grid)
    return pixels, positions, torch.tensor([int(question.answer) for question in asked])

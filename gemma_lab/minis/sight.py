"""The first minutes of a training: the vision tower alone learns to tell digits, colours and shapes apart.

Inside the whole model a tower that starts at random gets almost no signal: the decoder learns to ignore
its noise long before it carries anything. A linear probe on the mean of a picture's soft tokens teaches it
within minutes; the decoder then finds what is already there to be read.
"""

from __future__ import annotations

import random
from typing import Any

import torch

from .soft import stacked_patches
from .tasks import digits
from .tasks.drawing import COLOURS, SHAPES, draw, paper
from .tasks.scenes import MOST, SIDE, things

_KINDS = {"digit": 10, "colour": len(COLOURS), "shape": len(SHAPES), "count": MOST}
_NONE = -100  # a picture of several things has no one colour


class Sight:
    """A probe on the soft tokens of a model's pictures.

    Parameters
    ----------
    model
        A Gemma 4 model with a vision tower and an image projection.
    """

    def __init__(self, model: Any) -> None:
        self.model = model
        self.probe = torch.nn.Linear(model.config.text_config.hidden_size, sum(_KINDS.values()))

    def logits(self, pixels: torch.Tensor, positions: torch.Tensor) -> dict[str, torch.Tensor]:
        """Return the probe's logits: kind -> ``(pictures, classes)``."""
        soft = self.model.model.get_image_features(pixels, positions).pooler_output
        whole = self.probe(torch.stack([picture.mean(0) for picture in soft]))
        return dict(zip(_KINDS, whole.split(list(_KINDS.values()), -1), strict=True))

    def loss(self, rng: random.Random, *, pictures: int, grid: int) -> torch.Tensor:
        """Draw training pictures of `grid` × `grid` soft tokens and return the probe's mean cross-entropy."""
        images, truth = drawn(rng, pictures=pictures)
        found = self.logits(*stacked_patches(images, grid))
        losses = [
            torch.nn.functional.cross_entropy(found[kind], labels, ignore_index=_NONE)
            for kind, labels in truth.items()
            if (labels != _NONE).any()
        ]
        return torch.stack(losses).mean()


def drawn(rng: random.Random, *, pictures: int) -> tuple[list[Any], dict[str, torch.Tensor]]:
    """Return training pictures, half digits, half drawn things, and kind -> labels ``(pictures,)``."""
    images, labels = [], []
    for number in range(pictures):
        if number % 2:
            scene = things(rng, False, count=rng.choice((1, 1, 2, 3, 4)))
            images.append(draw(scene, size=SIDE, background=paper(rng)))
            alone = scene[0] if len(scene) == 1 else None
            colour = list(COLOURS).index(alone.colour) if alone else _NONE
            labels.append((_NONE, colour, SHAPES.index(alone.shape) if alone else _NONE, len(scene) - 1))
        else:
            question = digits.ask(rng, False)
            images.append(question.images[0])
            labels.append((int(question.answer), _NONE, _NONE, _NONE))
    return images, dict(zip(_KINDS, torch.tensor(labels).T, strict=True))

"""The first minutes of a training: the vision tower alone learns to tell what is where.

Inside the whole model a tower that starts at random gets almost no signal: the decoder learns to ignore
its noise long before it carries anything. Linear probes teach it within minutes; the decoder then finds what
is already there to be read. The mean of a picture's soft tokens tells which digit it is and how many things
there are; each soft token alone tells the colour and the shape of the thing that it shows, and its own place
in the picture. (Probes of the mean alone let the tower forget the places: left or right was a guess then.)
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from typing import Any

import torch

from .soft import stacked_patches
from .tasks import digits
from .tasks.drawing import COLOURS, MORE_COLOURS, MORE_SHAPES, SHAPES, Thing, draw, paper
from .tasks.scenes import MOST, SIDE, things

_COLOURS, _SHAPES = (*COLOURS, *MORE_COLOURS), (*SHAPES, *MORE_SHAPES)
_PLACES = 8  # into which a picture's side is cut
#: of a whole picture, and of each of its soft tokens: what is told apart -> classes
_WHOLE = {"digit": 10, "count": MOST}
_EACH = {"colour": len(_COLOURS) + 1, "shape": len(_SHAPES) + 1, "column": _PLACES, "row": _PLACES}
_UNKNOWN = -100  # a soft token that shows two things or the edge of one, the count of a digit
_COUNTS = (1, 2, 3, 3, 4, 4)  # of things: where there are more, more soft tokens show one
_CORE = 0.7  # how much of a thing's radius a soft token's centre lies in that surely shows it


class Sight:
    """Probes on the soft tokens of a model's pictures.

    Parameters
    ----------
    model
        A Gemma 4 model with a vision tower and an image projection.
    """

    def __init__(self, model: Any) -> None:
        self.model = model
        width = model.config.text_config.hidden_size
        self.probe = torch.nn.ModuleDict(
            {"whole": torch.nn.Linear(width, sum(_WHOLE.values())),
             "each": torch.nn.Linear(width, sum(_EACH.values()))}
        )  # fmt: skip

    def logits(self, pixels: torch.Tensor, positions: torch.Tensor) -> dict[str, torch.Tensor]:
        """Return the logits: kind -> ``(pictures, classes)`` or ``(pictures, soft tokens, classes)``."""
        soft = torch.stack(list(self.model.model.get_image_features(pixels, positions).pooler_output))
        found: dict[str, torch.Tensor] = {}
        for name, kinds, seen in (("whole", _WHOLE, soft.mean(1)), ("each", _EACH, soft)):
            found |= dict(zip(kinds, self.probe[name](seen).split(list(kinds.values()), -1), strict=True))
        return found

    def loss(self, rng: random.Random, *, pictures: int, grid: int) -> torch.Tensor:
        """Draw training pictures of `grid` × `grid` soft tokens and return the probes' mean cross-entropy.

        Soft tokens of things weigh as much as those of the background between them.
        """
        images, truth = drawn(rng, pictures=pictures, grid=grid)
        found = self.logits(*stacked_patches(images, grid))
        losses = []
        for kind, labels in truth.items():
            flat = labels.flatten()
            each = torch.nn.functional.cross_entropy(
                found[kind].flatten(0, -2), flat, ignore_index=_UNKNOWN, reduction="none"
            )
            parts = [flat > 0, flat == 0] if kind in ("colour", "shape") else [flat != _UNKNOWN]
            losses += [each[part].mean() / len(parts) for part in parts if part.any()]
        return torch.stack(losses).sum() / len(truth)


def drawn(rng: random.Random, *, pictures: int, grid: int) -> tuple[list[Any], dict[str, torch.Tensor]]:
    """Return training pictures, a third of them digits, and kind -> labels as `Sight.logits` has them."""
    images: list[Any] = []
    whole: list[tuple[int, int]] = []
    each: list[list[tuple[int, int, int, int]]] = []
    for number in range(pictures):
        if number % 3:
            scene = things(rng, False, count=rng.choice(_COUNTS), more=True)
            images.append(draw(scene, size=SIDE, background=paper(rng)))
            whole.append((_UNKNOWN, len(scene) - 1))
            each.append(cells(scene, grid))
        else:
            question = digits.ask(rng, False)
            images.append(question.images[0])
            whole.append((int(question.answer), _UNKNOWN))
            each.append([(_UNKNOWN, _UNKNOWN, *cell[2:]) for cell in cells([], grid)])
    labels = dict(zip(_WHOLE, torch.tensor(whole).T, strict=True))
    return images, labels | dict(zip(_EACH, torch.tensor(each).permute(2, 0, 1), strict=True))


def cells(scene: Sequence[Thing], grid: int) -> list[tuple[int, int, int, int]]:
    """Return for each soft token of a picture, row by row, its labels: colour, shape, column, row.

    Colour and shape are counted from 1; 0 is the background, -100 what cannot be said.
    """
    found, half = [], 0.5 / grid
    for number in range(grid**2):
        x, y = (number % grid + 0.5) / grid, (number // grid + 0.5) / grid
        far = [(one, math.dist((x, y), (one.x, one.y))) for one in scene]
        shown = [
            one
            for one, away in far
            if away < _CORE * one.radius or max(abs(one.x - x), abs(one.y - y)) < half
        ]
        colour = shape = _UNKNOWN
        if len(shown) == 1:
            colour, shape = _COLOURS.index(shown[0].colour) + 1, _SHAPES.index(shown[0].shape) + 1
        elif all(away > one.radius + half * math.sqrt(2) for one, away in far):
            colour = shape = 0
        found.append((colour, shape, int(_PLACES * x), int(_PLACES * y)))
    return found

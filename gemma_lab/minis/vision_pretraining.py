"""Pretraining of the vision encoder: probes teach it to recognise and locate.

In the complete model a randomly initialised encoder gets almost no signal: the decoder learns to ignore its
noise long before it carries information. Linear probes teach it within minutes, and the decoder then finds
readable features. The mean of an image's soft tokens predicts the digit and the number of things; each soft
token predicts the colour and the shape of the thing that it shows, and its own position. (With probes of the
mean only, the encoder lost positions: left or right was at chance.)
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import torch

from .media_inputs import ENCODED, MediaInputs
from .tasks import digits
from .tasks.cells import ALL_COLOURS, ALL_SHAPES, PLACES, UNKNOWN, cells
from .tasks.drawing import draw, paper
from .tasks.scenes import MOST, SIDE, things

#: labels of an image, and of each of its soft tokens -> number of classes
_WHOLE = {"digit": 10, "count": MOST}
_EACH = {"colour": len(ALL_COLOURS) + 1, "shape": len(ALL_SHAPES) + 1, "column": PLACES, "row": PLACES}
_COUNTS = (1, 2, 3, 3, 4, 4)  # of things: where there are more, more soft tokens show one


class VisionProbe:
    """Probes on the soft tokens of a model's images.

    Parameters
    ----------
    model
        A Gemma 4 model.
    see
        ``(pixels, positions) -> (images, soft tokens, width)``. Default: the vision encoder and projection.
    media
        The inputs that the model takes for images.
    """

    def __init__(
        self,
        model: Any,
        *,
        see: Callable[[torch.Tensor, torch.Tensor], torch.Tensor] | None = None,
        media: MediaInputs = ENCODED,
    ) -> None:
        self.model, self.media = model, media
        self._see = self._encoded if see is None else see
        width = model.config.text_config.hidden_size
        self.probe = torch.nn.ModuleDict(
            {"whole": torch.nn.Linear(width, sum(_WHOLE.values())),
             "each": torch.nn.Linear(width, sum(_EACH.values()))}
        )  # fmt: skip

    def logits(self, pixels: torch.Tensor, positions: torch.Tensor) -> dict[str, torch.Tensor]:
        """Return the logits: kind → ``(images, classes)`` or ``(images, soft tokens, classes)``."""
        soft = self._see(pixels, positions)
        found: dict[str, torch.Tensor] = {}
        for name, kinds, seen in (("whole", _WHOLE, soft.mean(1)), ("each", _EACH, soft)):
            found |= dict(zip(kinds, self.probe[name](seen).split(list(kinds.values()), -1), strict=True))
        return found

    def _encoded(self, pixels: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
        return torch.stack(list(self.model.model.get_image_features(pixels, positions).pooler_output))

    def loss(self, rng: random.Random, *, pictures: int, grid: int) -> torch.Tensor:
        """Draw training images of `grid` × `grid` soft tokens and return the probes' mean cross-entropy.

        Soft tokens of things weigh as much as those of the background.
        """
        images, truth = drawn(rng, pictures=pictures, grid=grid)
        found = self.logits(*self.media.images(images, grid))
        losses = []
        for kind, labels in truth.items():
            flat = labels.flatten()
            each = torch.nn.functional.cross_entropy(
                found[kind].flatten(0, -2), flat, ignore_index=UNKNOWN, reduction="none"
            )
            parts = [flat > 0, flat == 0] if kind in ("colour", "shape") else [flat != UNKNOWN]
            losses += [each[part].mean() / len(parts) for part in parts if part.any()]
        return torch.stack(losses).sum() / len(truth)


def drawn(rng: random.Random, *, pictures: int, grid: int) -> tuple[list[Any], dict[str, torch.Tensor]]:
    """Return training images, a third of them digits, and kind → labels as for `VisionProbe.logits`."""
    images: list[Any] = []
    whole: list[tuple[int, int]] = []
    each: list[list[tuple[int, int, int, int]]] = []
    for number in range(pictures):
        if number % 3:
            scene = things(rng, False, count=rng.choice(_COUNTS), more=True)
            images.append(draw(scene, size=SIDE, background=paper(rng)))
            whole.append((UNKNOWN, len(scene) - 1))
            each.append(cells(scene, grid))
        else:
            question = digits.ask(rng, False)
            images.append(question.images[0])
            whole.append((int(question.answer), UNKNOWN))
            each.append([(UNKNOWN, UNKNOWN, *cell[2:]) for cell in cells([], grid)])
    labels = dict(zip(_WHOLE, torch.tensor(whole).T, strict=True))
    return images, labels | dict(zip(_EACH, torch.tensor(each).permute(2, 0, 1), strict=True))

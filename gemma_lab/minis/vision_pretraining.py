"""Pretraining of the vision encoder: probes teach it to recognise and locate.

In the complete model a randomly initialised encoder gets almost no signal: the decoder learns to ignore its
noise long before it carries information. Linear probes teach it within minutes, and the decoder then finds
readable features. The mean of an image's soft tokens predicts the digit and the number of things; each soft
token predicts the colour and the shape of the thing that it shows, and its own position. (With probes of the
mean only, the encoder lost positions: left or right was at chance.)
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from typing import Any

import torch

from .image_sizes import FULL_GRID
from .media_inputs import ENCODED, MediaInputs
from .tasks import digits
from .tasks.cells import ALL_COLOURS, ALL_SHAPES, PLACES, UNKNOWN, cells
from .tasks.drawing import draw, paper
from .tasks.scenes import MOST, SIDE, things

#: labels of an image, and of each of its soft tokens -> number of classes
_WHOLE = {"digit": 10, "count": MOST}
_EACH = {"colour": len(ALL_COLOURS) + 1, "shape": len(ALL_SHAPES) + 1, "column": PLACES, "row": PLACES}
_KEPT = 100  # soft tokens of a large image that a step has
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

    Attributes
    ----------
    soft_tokens
        `see`, or its default.
    """

    def __init__(
        self,
        model: Any,
        *,
        see: Callable[[torch.Tensor, torch.Tensor], torch.Tensor] | None = None,
        media: MediaInputs = ENCODED,
    ) -> None:
        self.model, self.media = model, media
        self.soft_tokens = self._encoded if see is None else see
        width = model.config.text_config.hidden_size
        self.probe = torch.nn.ModuleDict(
            {"whole": torch.nn.Linear(width, sum(_WHOLE.values())),
             "each": torch.nn.Linear(width, sum(_EACH.values()))}
        )  # fmt: skip

    def logits(self, pixels: torch.Tensor, positions: torch.Tensor) -> dict[str, torch.Tensor]:
        """Return the logits: kind → ``(images, classes)`` or ``(images, soft tokens, classes)``."""
        return self._told(self.soft_tokens(pixels, positions))

    def _told(self, soft: torch.Tensor) -> dict[str, torch.Tensor]:
        """Return the probes' logits of soft tokens, ``(images, soft tokens, width)``."""
        found: dict[str, torch.Tensor] = {}
        for name, kinds, seen in (("whole", _WHOLE, soft.mean(1)), ("each", _EACH, soft)):
            found |= dict(zip(kinds, self.probe[name](seen).split(list(kinds.values()), -1), strict=True))
        return found

    def _encoded(self, pixels: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
        return torch.stack(list(self.model.model.get_image_features(pixels, positions).pooler_output))

    def some(self, pixels: torch.Tensor, positions: torch.Tensor, kept: torch.Tensor) -> torch.Tensor:
        """Return some soft tokens of images, encoded as if the others were not there.

        Attention over a quarter of the patches takes a sixteenth of the time (PatchDropout, Liu et al. 2022,
        arXiv:2208.07220). All nine patches of a soft token are kept, so that its mean is exact.

        Parameters
        ----------
        kept
            Numbers of the soft tokens, row by row.
        """
        tower = self.model.model.vision_tower
        side = math.isqrt(pixels.shape[1])
        across = int(tower.config.pooling_kernel_size)
        inside = torch.arange(across)
        row, column = (across * part for part in (kept // (side // across), kept % (side // across)))
        at = (row[:, None] + inside)[:, :, None] * side + (column[:, None] + inside)[:, None]
        pixels, positions = pixels[:, at.flatten()], positions[:, at.flatten()]
        real = torch.ones(pixels.shape[:2], dtype=torch.bool)
        encoded = tower.encoder(
            inputs_embeds=tower.patch_embedder(pixels, positions, ~real), attention_mask=real,
            pixel_position_ids=positions,
        ).last_hidden_state  # fmt: skip
        pooled = encoded.unflatten(1, (-1, across**2)).mean(2) * tower.pooler.root_hidden_size
        if tower.config.standardize:
            pooled = (pooled - tower.std_bias) * tower.std_scale
        made: torch.Tensor = self.model.model.embed_vision(inputs_embeds=pooled)
        return made

    def draw_kept(self, rng: random.Random, grid: int) -> torch.Tensor:
        """Draw which soft tokens of a large image a step has."""
        return torch.tensor(sorted(rng.sample(range(grid**2), min(grid**2, _KEPT))))

    def large_loss(self, rng: random.Random, *, pictures: int, grid: int) -> torch.Tensor:
        """Draw large training images and return the losses of some of their soft tokens.

        To the probes' cross-entropy comes the distance of an image's mean from the mean of the same image at
        the usual size, relative to the variance of those: a decoder that reads one can read the other.
        """
        images, truth = drawn(rng, pictures=pictures, grid=grid, every=2)
        kept = self.draw_kept(rng, grid)
        soft = self.some(*self.media.images(images, grid), kept)
        with torch.no_grad():
            usual = self.soft_tokens(*self.media.images(images, FULL_GRID)).mean(1)
        apart = (soft.mean(1) - usual).square().mean() / usual.var(0).mean()
        seen = {kind: labels if kind in _WHOLE else labels[:, kept] for kind, labels in truth.items()}
        return mean_loss(_losses(self._told(soft), seen)) + apart

    def loss(self, rng: random.Random, *, pictures: int, grid: int) -> torch.Tensor:
        """Draw training images of `grid` × `grid` soft tokens and return the probes' mean cross-entropy.

        Soft tokens of things weigh as much as those of the background.
        """
        return mean_loss(self.losses(rng, pictures=pictures, grid=grid))

    def losses(self, rng: random.Random, *, pictures: int, grid: int) -> dict[str, torch.Tensor]:
        """Draw training images as for `loss` and return the cross-entropy of each kind of label."""
        images, truth = drawn(rng, pictures=pictures, grid=grid)
        return _losses(self.logits(*self.media.images(images, grid)), truth)


def mean_loss(losses: dict[str, torch.Tensor]) -> torch.Tensor:
    """Return the mean over kinds of label."""
    return torch.stack([*losses.values()]).mean()


def _losses(found: dict[str, torch.Tensor], truth: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return the cross-entropy of each kind."""
    losses = {}
    for kind, labels in truth.items():
        flat = labels.flatten()
        each = torch.nn.functional.cross_entropy(
            found[kind].flatten(0, -2), flat, ignore_index=UNKNOWN, reduction="none"
        )
        parts = [flat > 0, flat == 0] if kind in ("colour", "shape") else [flat != UNKNOWN]
        shares = [each[part].mean() / len(parts) for part in parts if part.any()]
        losses[kind] = torch.stack(shares).sum() if shares else each.sum()
    return losses


def drawn(
    rng: random.Random, *, pictures: int, grid: int, every: int = 3
) -> tuple[list[Any], dict[str, torch.Tensor]]:
    """Return training images, one `every` so many a digit, and kind → labels as for `VisionProbe.logits`."""
    images: list[Any] = []
    whole: list[tuple[int, int]] = []
    each: list[list[tuple[int, int, int, int]]] = []
    for number in range(pictures):
        if number % every:
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

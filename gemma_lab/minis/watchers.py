"""What watches the forward passes of a training: probes of images and guides of attention."""

from __future__ import annotations

from typing import Any

import torch

from .attention_guide import AttentionGuide
from .batches import Batch
from .picture_probe import SECONDS, PictureProbe
from .soft_token_probe import SoftTokenProbe
from .tasks.cells import NEWS

_COMPARES = 1  # layer with a head that attends to the same place one frame earlier


class Watchers:
    """Probes and guides with hooks on a model.

    Parameters
    ----------
    model
        A Gemma 4 model.

    Attributes
    ----------
    probes
        Modules with weights of their own.
    last
        Name → the last loss above 0, in nats per token.
    """

    def __init__(self, model: Any) -> None:
        # what soft tokens show is gathered one layer above
        self._news = SoftTokenProbe(model, len(NEWS), below=2)
        self._time = SoftTokenProbe(model, SECONDS, below=2)
        self._pictures = PictureProbe(model)
        self._looks, self._before = AttentionGuide(model), AttentionGuide(model, _COMPARES)
        self.probes = [self._news.probe, self._time.probe, self._pictures.probe]
        self.last: dict[str, float] = {}

    def loss(self, batch: Batch) -> torch.Tensor:
        """Return the sum of all losses in the last forward pass, which was of this batch."""
        losses = {"news": self._news.loss(batch.news), "time": self._time.loss(batch.seconds)}
        losses |= self._pictures.losses(batch.pictures)
        losses |= {"looks": self._looks.loss(batch.looks), "before": self._before.loss(batch.before)}
        self.last |= {name: float(loss.detach()) for name, loss in losses.items() if loss}
        return torch.stack([*losses.values()]).sum()

"""Probes on the token that ends an image or a frame, used in training only.

A question about a clip is answered by the global layer, which has to find one of some 300 soft tokens and to
read what happened there, and when. The token after a frame's soft tokens can gather both within the window of
the local layers, as the last word of a sentence does for its facts; the global layer then retrieves from one
token per frame, as it does from texts.
"""

from __future__ import annotations

from typing import Any

import torch

from .soft_token_probe import SoftTokenProbe
from .tasks.cells import ALL_SHAPES, NEWS
from .tasks.scenes import MOST

SECONDS = 8
"""Number of times of frames, in whole seconds from the start, that probes tell apart."""
CLASSES = {"digit": 10, "count": MOST, "happened": len(NEWS), "which": len(ALL_SHAPES) + 1, "second": SECONDS}
"""What can be said about a picture as a whole -> number of classes: the digit in it, the number of things
less one, what happened since the picture before (`NEWS`), the shape that it happened to, and its second."""


class PictureProbe:
    """Linear probes on the hidden states of tokens that end an image or a frame.

    Parameters
    ----------
    model
        A Gemma 4 model; the probes read the layer before its last global layer with keys of its own.
    """

    def __init__(self, model: Any) -> None:
        self._kinds = {kind: SoftTokenProbe(model, classes) for kind, classes in CLASSES.items()}
        self.probe = torch.nn.ModuleDict({kind: one.probe for kind, one in self._kinds.items()})

    def losses(self, classes: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Return kind → cross-entropy in the last forward pass, in nats per picture; 0 if nothing is known.

        Parameters
        ----------
        classes
            Kind → class of each token, or unknown, shape ``(rows, length)``.
        """
        return {kind: one.loss(classes[kind]) for kind, one in self._kinds.items()}

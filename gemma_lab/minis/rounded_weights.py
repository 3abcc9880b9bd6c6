"""Quantisation-aware training: forward and backward passes with weights on the grid of Q4_0."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch

from ..models.quantization.q4_0_grid import round_to_grid, rounded_matrices


class RoundedWeights:
    """The weights that Q4_0 rounds, rounded for a while.

    Gradients at the rounded weights are those of the weights themselves (straight-through estimator, Bengio
    et al. 2013, arXiv:1308.3432), which the optimizer moves unrounded.

    Parameters
    ----------
    model
        A Gemma 4 model in float32.
    """

    def __init__(self, model: torch.nn.Module) -> None:
        self._weights = rounded_matrices(model)

    @contextlib.contextmanager
    def applied(self) -> Iterator[None]:
        """Round the weights, and put back what they were."""
        kept = [weight.detach().clone() for weight in self._weights]
        try:
            round_to_grid(self._weights)
            yield
        finally:
            with torch.no_grad():
                for weight, before in zip(self._weights, kept, strict=True):
                    weight.copy_(before)

"""Quantisation-aware training: forward and backward passes with weights on the grid of Q4_0."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch

from ..models.quantization.q4_0_grid import round_to_grid, rounded_matrices


@contextlib.contextmanager
def rounded_weights(model: torch.nn.Module) -> Iterator[None]:
    """Round the weights that Q4_0 rounds, and put back what they were.

    Gradients at the rounded weights are those of the weights themselves (straight-through estimator, Bengio
    et al. 2013, arXiv:1308.3432), which the optimizer moves unrounded.

    Parameters
    ----------
    model
        A Gemma 4 model in float32.
    """
    weights = rounded_matrices(model)
    kept = [weight.detach().clone() for weight in weights]
    try:
        round_to_grid(weights)
        yield
    finally:
        with torch.no_grad():
            for weight, before in zip(weights, kept, strict=True):
                weight.copy_(before)

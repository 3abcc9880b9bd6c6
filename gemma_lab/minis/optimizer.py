"""Optimizer of a training: groups of weights and the learning rate of each."""

from __future__ import annotations

from typing import Any

import torch

PEAK_RATE = 2e-3
"""Peak learning rate of a new mini."""

_WIDE, _WIDE_RATE = 2048, 0.1  # inputs of a layer that learns more slowly: its sums move with each of them
_DECAY = 0.01
_WARM = 100  # steps in which a rate rises from 0
_PROBES_ALONE = 80  # first steps of a training that goes on in which only probes learn


def new_optimizer(model: torch.nn.Module, probes: torch.nn.Module) -> torch.optim.Optimizer:
    """Return AdamW with groups of weights that learn at rates of their own; vectors do not decay."""
    groups: list[dict[str, Any]] = []
    for name, module in (("model", model), ("probes", probes)):
        parts: dict[tuple[float, float], list[torch.nn.Parameter]] = {}
        for weight in module.parameters():
            wide = weight.ndim == 2 and weight.shape[1] > _WIDE
            kind = _DECAY if weight.ndim > 1 else 0.0, _WIDE_RATE if wide else 1.0
            parts.setdefault(kind, []).append(weight)
        groups += [
            {"params": weights, "weight_decay": decay, "share": share, "of": name}
            for (decay, share), weights in parts.items()
        ]
    return torch.optim.AdamW(groups, lr=PEAK_RATE, betas=(0.9, 0.98), fused=True)


def set_rates(optimizer: torch.optim.Optimizer, share: float, *, steps: int, probes_first: bool) -> None:
    """Set the learning rate of each group for the next step.

    Parameters
    ----------
    share
        Share of `PEAK_RATE` at this point of the training, without warm-up.
    steps
        Number of earlier steps.
    probes_first
        Whether probes learn alone in the first steps, at the full rate, while Adam gathers the moments of the
        model's gradients: new ones would teach a trained model noise.
    """
    alone = _PROBES_ALONE if probes_first else 0
    warm = min(1.0, max(0, steps + 1 - alone) / _WARM)
    for group in optimizer.param_groups:
        probing = group["of"] == "probes" and steps < alone
        group["lr"] = PEAK_RATE if probing else PEAK_RATE * share * group["share"] * warm

"""Sizes of an adapter's updates, per weight and per expert, without forming them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from ...errors import LabError
from .targets import target_of

if TYPE_CHECKING:
    from .adapter_data import AdapterData

_LAYER = re.compile(r"layers\.(\d+)\.")


def update_norms(adapter: AdapterData) -> list[dict[str, Any]]:
    """Return one row per adapted weight: target, layer (−1 outside layers), weight, norm of its update."""
    rows = []
    for name, shape in adapter.shapes.items():
        match = _LAYER.search(name)
        squares = _squared_norms(adapter, name, experts=shape[0] if len(shape) == 3 else 1)
        rows.append(
            {
                "target": target_of(name),
                "layer": int(match[1]) if match else -1,
                "weight": name,
                "norm": float(squares.sum().sqrt()),
            }
        )
    return rows


def expert_norms(adapter: AdapterData) -> np.ndarray[Any, np.dtype[np.float32]]:
    """Return the norm of every expert's update over its projections, ``(layers, experts)``."""
    fused = {name: shape for name, shape in adapter.shapes.items() if len(shape) == 3}
    if not fused:
        raise LabError(
            f"The adapter {adapter.name} changes no experts, only {', '.join(adapter.targets)}.",
            hint='lab.fine_tune(…, targets="experts") trains them.',
        )
    layers = sorted({int(_LAYER.search(name)[1]) for name in fused})  # type: ignore[index]
    found = torch.zeros(len(layers), next(iter(fused.values()))[0])
    for name, shape in fused.items():
        found[layers.index(int(_LAYER.search(name)[1]))] += _squared_norms(adapter, name, experts=shape[0])  # type: ignore[index]
    return found.sqrt().numpy()


def _squared_norms(adapter: AdapterData, name: str, *, experts: int) -> torch.Tensor:
    """Return ‖alpha/rank · B A‖² of each expert: the trace of (Bᵀ B)(A Aᵀ), which is rank × rank."""
    first, second = adapter.tensors[f"{name}.lora_A"].double(), adapter.tensors[f"{name}.lora_B"].double()
    first = first.reshape(experts, -1, first.shape[-1])
    second = second.reshape(second.shape[0], -1, experts).permute(2, 0, 1)
    inner, outer = second.transpose(1, 2) @ second, first @ first.transpose(1, 2)
    squares = (inner * outer).sum((1, 2)).clamp_min(0)
    return (squares * (adapter.alpha / adapter.rank) ** 2).float()

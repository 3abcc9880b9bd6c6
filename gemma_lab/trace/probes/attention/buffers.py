"""Reusable buffers."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch


class BufferPool:
    """Pool of reusable buffers: allocating memory for every block would take as long as the block's sums."""

    def __init__(self) -> None:
        self._flat: dict[str, torch.Tensor] = {}

    def take(self, name: str, shape: Sequence[int], device: torch.device) -> torch.Tensor:
        """Return an uninitialised float32 tensor, in the same memory every time."""
        size, flat = math.prod(shape), self._flat.get(name)
        if flat is None or flat.numel() < size or flat.device != device:
            flat = self._flat[name] = torch.empty(size, device=device)
        return flat[:size].view(*shape)

    def like(self, name: str, tensor: torch.Tensor) -> torch.Tensor:
        """Return one of a tensor's shape and device."""
        return self.take(name, tensor.shape, tensor.device)

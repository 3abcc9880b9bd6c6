"""Packed weights of any method as numbers."""

from __future__ import annotations

from typing import Any

import torch

from .layers import IntExperts, IntLinear, IntTable


def first_row(model: Any, name: str) -> torch.Tensor | None:
    """Return the first row of a packed weight, or the weights of the first expert, as numbers.

    Parameters
    ----------
    model
        A quantised model.
    name
        Of the parameter, as in the checkpoint that was packed.

    Returns
    -------
    Tensor or None
        None for a method that this does not know.
    """
    path, _, leaf = name.rpartition(".")
    module = model.get_submodule(path)
    if isinstance(module, IntExperts):
        return module.dequantized(leaf, slice(0, 1))
    if isinstance(module, IntTable):
        return module.dequantized(slice(0, 1))
    if isinstance(module, IntLinear):
        return module.dequantized()[:1]
    weight = getattr(module, leaf)
    state = getattr(weight, "quant_state", None)
    if state is not None:  # bitsandbytes, 4 bits
        from bitsandbytes.functional import dequantize_4bit

        numbers: torch.Tensor = dequantize_4bit(weight.data, state)
        return numbers[:1]
    if getattr(weight, "SCB", None) is not None:
        # bitsandbytes, 8 bits: a scale is the largest weight of its row
        scaled: torch.Tensor = weight.data[:1].float() * (weight.SCB[:1, None] / 127)
        return scaled
    if hasattr(weight, "dequantize") and hasattr(weight, "__tensor_flatten__"):  # torchao
        whole: torch.Tensor = weight.dequantize()
        return whole[:1]
    return None

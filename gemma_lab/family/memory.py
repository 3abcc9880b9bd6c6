"""Bytes that a Gemma 4 needs: its weights in a dtype, and its key-value cache at a context. No torch.

All figures are exact arithmetic on the shape; what a runtime adds (activations, workspace, fragmentation) is
not in them.
"""

from __future__ import annotations

from ..errors import LabError
from .architecture import Architecture
from .parameters import count_parameters, matrix_parameters

GIB = 2**30
"""Bytes in a GiB."""

BITS_PER_WEIGHT = {"fp32": 32.0, "bf16": 16.0, "int8": 8.5, "int4": 4.5}
"""Bits a packed weight takes. The quantised kinds store blocks of 32 weights with one 16-bit scale, as GGUF's
Q8_0 and Q4_0 do: (32 × 8 + 16) / 32 and (32 × 4 + 16) / 32."""


def weight_bytes(shape: Architecture, dtype: str = "bf16") -> int:
    """Return the bytes of a model's weights.

    Parameters
    ----------
    shape
        The model.
    dtype
        ``"fp32"``, ``"bf16"``, ``"int8"`` or ``"int4"``. The integer kinds pack attention, feed-forward
        layers and experts (see `BITS_PER_WEIGHT`), as `gemma_lab.load` does with these names, and leave the
        rest in 16 bits: embeddings, router, norms and towers.

    Raises
    ------
    LabError
        If `dtype` is none of them.
    """
    if dtype not in BITS_PER_WEIGHT:
        known = ", ".join(BITS_PER_WEIGHT)
        raise LabError(f"No weight size is known for dtype {dtype!r}.", hint=f"Known: {known}.")
    total = count_parameters(shape).total
    if dtype in ("fp32", "bf16"):
        return int(total * BITS_PER_WEIGHT[dtype] / 8)
    packed = matrix_parameters(shape)
    return round(packed * BITS_PER_WEIGHT[dtype] / 8 + (total - packed) * 2)


def all_weight_bytes(shape: Architecture) -> dict[str, int]:
    """Return `weight_bytes` for every dtype of `BITS_PER_WEIGHT`."""
    return {dtype: weight_bytes(shape, dtype) for dtype in BITS_PER_WEIGHT}


def kv_cache_bytes(shape: Architecture, tokens: int, *, batch: int = 1, value_bytes: int = 2) -> int:
    """Return the bytes of the key-value cache after `tokens` tokens.

    Only layers with keys and values of their own have a cache. A global layer keeps every token, a local one
    as many as its window (transformers keeps one fewer between steps). Keys and values are both cached, also
    where one projection makes both.

    Parameters
    ----------
    shape
        The model.
    tokens
        Tokens of one sequence: prompt and answer.
    batch
        Sequences.
    value_bytes
        Bytes a cached number: 2 for bfloat16.
    """
    numbers = 0
    for layer in shape.owners:
        kept = tokens if layer.window is None else min(tokens, layer.window)
        numbers += 2 * layer.kv_heads * layer.head_dim * kept
    return numbers * batch * value_bytes


def kv_cache_slope(shape: Architecture, *, value_bytes: int = 2) -> int:
    """Return the bytes that one more token adds once every window is full: those of the global layers."""
    globals_ = (layer for layer in shape.owners if layer.window is None)
    return sum(2 * layer.kv_heads * layer.head_dim for layer in globals_) * value_bytes

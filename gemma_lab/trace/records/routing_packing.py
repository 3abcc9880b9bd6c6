"""Expert ids and router shares in few bits."""

from __future__ import annotations

from typing import Any

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]

_STEPS = 4095  # 12 bits


def id_type(experts: int) -> type[np.unsignedinteger[Any]]:
    """Return the type that expert ids are stored in: one byte, or two for more than 256 experts."""
    return np.uint8 if experts <= 256 else np.uint16


def packed_width(k: int) -> int:
    """Return the bytes that `k` 12-bit numbers take."""
    return (3 * k + 1) // 2


def pack12(gate_weights: Array) -> Array:
    """Return shares in 0 to 1 as 12-bit fixed point along the last axis, two in three bytes.

    Of the first number the low byte, then its four high bits below the four low bits of the second, then the
    high byte of the second. An odd last number takes two bytes, the four bits left over are zero.
    """
    k = gate_weights.shape[-1]
    steps = np.zeros((*gate_weights.shape[:-1], k + k % 2), dtype=np.uint16)
    steps[..., :k] = np.rint(np.clip(gate_weights, 0, 1) * np.float32(_STEPS))
    first, second = steps[..., ::2], steps[..., 1::2]
    three = np.empty((*first.shape, 3), dtype=np.uint8)
    three[..., 0] = first & 0xFF
    three[..., 1] = (first >> 8) | ((second & 0xF) << 4)
    three[..., 2] = second >> 4
    flat = three.reshape(*gate_weights.shape[:-1], 3 * first.shape[-1])
    return np.ascontiguousarray(flat[..., : packed_width(k)])


def unpack12(packed: Array, k: int) -> Array:
    """Return 12-bit shares as float32; the inverse of `pack12` up to half a step of 1/4095."""
    pairs = (k + 1) // 2
    if k % 2:
        packed = np.concatenate([packed, np.zeros_like(packed[..., :1])], axis=-1)
    three = packed.reshape(*packed.shape[:-1], pairs, 3)
    low, middle, high = (three[..., byte].astype(np.uint16) for byte in range(3))
    gate_weights = np.empty((*three.shape[:-1], 2), dtype=np.float32)
    np.divide(low | ((middle & 0xF) << 8), np.float32(_STEPS), out=gate_weights[..., 0])
    np.divide((middle >> 4) | (high << 4), np.float32(_STEPS), out=gate_weights[..., 1])
    return gate_weights.reshape(*packed.shape[:-1], 2 * pairs)[..., :k]

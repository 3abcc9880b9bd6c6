"""Bytes read by a decoding step, and the time that takes (`gemma_lab.analysis.experts.offload`)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from ...family.architecture import Architecture
from ...family.parameters import count_parameters

Floats = NDArray[np.float64]
GB = 10**9
"""Bytes in a GB, the unit of bandwidths; memory is in GiB (2³⁰)."""


@dataclass(frozen=True)
class GPU:
    """A GPU: its memory in GiB (2³⁰ bytes), and the bandwidth of that memory in GB/s (10⁹ bytes)."""

    name: str
    memory_gib: float
    bandwidth: float

    def __repr__(self) -> str:
        return f"GPU({self.name}: {self.memory_gib:g} GiB, {self.bandwidth:,g} GB/s)"


_GPUS = (
    GPU("RTX 3060", 12, 360),
    GPU("RTX 3090", 24, 936),
    GPU("RTX 4060 Laptop", 8, 256),
    GPU("RTX 4060 Ti 16 GB", 16, 288),
    GPU("RTX 4080", 16, 717),
    GPU("RTX 4090", 24, 1008),
    GPU("RTX 5060 Ti 16 GB", 16, 448),
    GPU("RTX 5070 Ti", 16, 896),
    GPU("RTX 5090", 32, 1792),
    GPU("T4", 16, 320),
    GPU("L4", 24, 300),
)
GPUS: Mapping[str, GPU] = MappingProxyType({gpu.name: gpu for gpu in _GPUS})
"""GPUs by name, with the memory bandwidth of NVIDIA's data sheets. Any other: ``GPU(name, GiB, GB/s)``."""

EFFICIENCY, OVERHEAD_MS = 0.70, 3.5
"""Fraction of the GPU's bandwidth that a runtime reaches, and further milliseconds per token.

Fitted to published llama.cpp runs of the 26B-A4B with all experts in GPU memory (RTX 3090, 4090, 5060 Ti and
5090, listed in ``docs/expert-offload.md``); agreement with these is therefore no evidence."""


@dataclass(frozen=True)
class Weights:
    """Bytes of one expert, and of everything else that a token reads."""

    expert: float
    dense: float


def weights(shape: Architecture, *, bits: float, embedding_bits: float) -> Weights:
    """Return the bytes of an expert, and of the decoder without experts, which every token reads completely.

    Attention and dense feed-forward are quantised like the experts; router and norms stay in 16 bits. The
    embedding counts once, as the output head; the row looked up is negligible.

    Parameters
    ----------
    shape
        The model.
    bits, embedding_bits
        Bits per weight of the matrices, and of the token embedding.
    """
    parts = count_parameters(shape)
    matrices = (parts.attention + parts.mlp) * bits / 8
    dense = matrices + (parts.router + parts.norms) * 2 + parts.embedding * embedding_bits / 8
    one = parts.experts / (shape.experts * len(shape.layers))
    return Weights(expert=one * bits / 8, dense=dense)


def token_seconds(
    *,
    dense: float,
    hit: Floats | float,
    missed: Floats | float,
    bandwidth: float,
    link: float,
    efficiency: float = EFFICIENCY,
    overhead_ms: float = OVERHEAD_MS,
    overlap: bool = False,
) -> Floats:
    """Return the seconds of one decoding step.

    ``(dense + hit) / (bandwidth × efficiency) + missed / link + overhead``: the roofline of Williams,
    Waterman and Patterson 2009 (*Roofline*, CACM 52(4), 65–76) where arithmetic is never the limit, as in
    decoding one sequence. With `overlap`, cached and missing experts of a layer are processed in parallel:
    the larger time of ``hit`` and ``missed`` counts, plus the dense parts.

    Parameters
    ----------
    dense, hit, missed
        Bytes that a token reads: dense parts in GPU memory; experts in GPU memory; experts elsewhere.
    bandwidth, link
        GB/s of GPU memory, and of the path to the missing experts.
    efficiency, overhead_ms, overlap
        As in `offload_speed`.
    """
    reached = bandwidth * GB * efficiency
    cached = np.asarray(hit, dtype=np.float64) / reached
    away = np.asarray(missed, dtype=np.float64) / (link * GB)
    experts = np.maximum(cached, away) if overlap else cached + away
    return np.asarray(dense / reached + experts + overhead_ms / 1e3)

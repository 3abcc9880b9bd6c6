"""Decoding speed of the 26B-A4B with only some of its experts in GPU memory.

A decoding step reads every weight that the token uses once, so its time is bytes ÷ bandwidth, summed over
where the bytes are: dense parts and cached experts in GPU memory, missing experts across the link or in the
host's memory. ``docs/expert-offload.md`` compares the estimates with published runs.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ...display import Displayed
from ...errors import LabError
from ...family.architecture import Architecture, get_architecture
from ...family.memory import BITS_PER_WEIGHT, GIB, kv_cache_bytes
from .cache import ExpertCacheCurve
from .roofline import EFFICIENCY, GPU, GPUS, OVERHEAD_MS, token_seconds, weights

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class OffloadAssumptions:
    """Assumptions of `offload_speed`.

    Attributes
    ----------
    gpu
        The GPU.
    misses
        ``"copy"``: a missing expert is copied to the GPU and computed there. ``"cpu"``: it is computed on the
        CPU, from the host's memory.
    link
        GB/s at which missing experts are read: of the link for ``"copy"``, of the host's memory for
        ``"cpu"``.
    quantisation, bits, embedding_bits
        Of the decoder's matrices: name and bits per weight; and bits per weight of the token embedding, which
        is also the output head.
    efficiency, overhead_ms
        Fraction of the GPU's bandwidth that is reached, and further milliseconds per token.
    overlap
        True if missing experts are read while the GPU works on the cached ones of the same layer.
    context
        Tokens in the key-value cache, read at every step (bfloat16).
    reserve_gib
        GPU memory kept free for activations and workspace, GiB.
    policy
        Of the expert cache.
    source
        Of the hit rates.
    """

    gpu: GPU
    misses: Literal["copy", "cpu"]
    link: float
    quantisation: str
    bits: float
    embedding_bits: float
    efficiency: float
    overhead_ms: float
    overlap: bool
    context: int
    reserve_gib: float
    policy: str
    source: str

    def lines(self) -> list[str]:
        """Return the assumptions, one per line."""
        how = "copied over the link" if self.misses == "copy" else "computed from the host's memory"
        together = "while the GPU works on cached experts" if self.overlap else "while the GPU waits"
        return [
            f"GPU: {self.gpu.name}, {self.gpu.memory_gib:g} GiB, {self.gpu.bandwidth:,g} GB/s, of which "
            f"{self.efficiency:.0%} is reached",
            f"missing experts: {how} at {self.link:g} GB/s, {together}",
            f"weights: {self.quantisation} ({self.bits:g} bits) except the token embedding "
            f"({self.embedding_bits:g} bits), router and norms (16 bits); no vision encoder in GPU memory",
            f"key-value cache: {self.context:,} tokens in bfloat16; {self.reserve_gib:g} GiB kept free",
            f"one sequence, no speculative decoding, no prefetch; {self.overhead_ms:g} ms overhead per token",
            f"hit rate: policy {self.policy}, from {self.source}; first uses excluded (a warm cache)",
        ]


@dataclass(frozen=True, eq=False)
class Offload(Displayed):
    """Decoding speed at every fraction of experts in GPU memory; arrays are ``[sizes]``.

    Attributes
    ----------
    assumptions
        Assumptions of the estimate.
    share
        Fraction of all experts in GPU memory, 0 to 1; the first is 0.
    hit_rate
        Fraction of the requests that find their expert there.
    gpu_bytes
        GPU memory in use.
    missed_bytes
        Bytes of missing experts that a token reads.
    seconds
        Seconds per token.
    floor_seconds
        Seconds per token at the full bandwidth of the GPU and without overhead: a lower bound.
    """

    assumptions: OffloadAssumptions
    share: Floats
    hit_rate: Floats
    gpu_bytes: Floats
    missed_bytes: Floats
    seconds: Floats
    floor_seconds: Floats = field(repr=False)

    def __repr__(self) -> str:
        gpu = self.assumptions.gpu
        head = f"Offload(26B-A4B {self.assumptions.quantisation} on {gpu.name}: "
        largest_fit = self.largest_fit
        if largest_fit is None:
            return f"{head}does not fit, {self.gpu_bytes[0] / GIB:.1f} GiB without experts)"
        return (
            f"{head}{self.share[largest_fit]:.0%} of the experts fit in {gpu.memory_gib:g} GiB, hit rate "
            f"{self.hit_rate[largest_fit]:.1%}, {self.tokens_per_second[largest_fit]:.1f} tokens/s, "
            f"upper bound {self.upper_bound[largest_fit]:.0f})"
        )

    def __str__(self) -> str:
        rows = [f"{'on GPU':>8} {'GiB':>6} {'hits':>7} {'MB/token':>9} {'tokens/s':>9} {'bound':>7}"]
        rows += [
            f"{self.share[at]:>8.0%} {self.gpu_bytes[at] / GIB:>6.1f} {self.hit_rate[at]:>7.1%} "
            f"{self.missed_bytes[at] / 1e6:>9.0f} {self.tokens_per_second[at]:>9.1f} "
            f"{self.upper_bound[at]:>7.0f}{'  fits' if self.fits[at] else ''}"
            for at in self.table_rows()
        ]
        return "\n".join(
            [repr(self), *rows, "OffloadAssumptions:", *(f"- {a}" for a in self.assumptions.lines())]
        )

    @property
    def tokens_per_second(self) -> Floats:
        """Tokens per second, ``[sizes]``."""
        return np.asarray(1 / self.seconds)

    @property
    def upper_bound(self) -> Floats:
        """Upper bound of the tokens per second under these bandwidths, ``[sizes]``."""
        return np.asarray(1 / self.floor_seconds)

    @property
    def fits(self) -> NDArray[np.bool]:
        """Whether GPU memory suffices, ``[sizes]``."""
        return np.asarray(self.gpu_bytes <= self.assumptions.gpu.memory_gib * GIB)

    @property
    def largest_fit(self) -> int | None:
        """Index of the largest fraction that fits; None if not even the dense parts do."""
        places = np.flatnonzero(self.fits)
        return int(places[-1]) if len(places) else None

    def share_for(self, tokens_per_second: float) -> float | None:
        """Return the smallest fraction of experts in GPU memory that reaches a speed; None if none does."""
        places = np.flatnonzero(self.tokens_per_second >= tokens_per_second)
        return float(self.share[places[0]]) if len(places) else None

    def table_rows(self, rows: int = 9) -> list[int]:
        """Return the indices of a short table: evenly spaced, with the largest fraction that fits."""
        places = {round(at) for at in np.linspace(0, len(self.share) - 1, rows)}
        return sorted(places | ({self.largest_fit} if self.largest_fit is not None else set()))

    def to_pandas(self) -> Any:
        """Return one row per fraction of experts in GPU memory, with memory, hit rate and speed."""
        import pandas as pd

        return pd.DataFrame(
            {
                "share": self.share,
                "hit_rate": self.hit_rate,
                "gpu_gib": self.gpu_bytes / GIB,
                "missed_mb": self.missed_bytes / 1e6,
                "tokens_per_second": self.tokens_per_second,
                "upper_bound": self.upper_bound,
                "fits": self.fits,
            }
        )


def offload_speed(
    curve: ExpertCacheCurve,
    *,
    gpu: GPU | str,
    link: float,
    misses: Literal["copy", "cpu"] = "copy",
    quantisation: str | float = "int4",
    embedding_bits: float = 16.0,
    policy: str = "lru",
    context: int = 4096,
    overlap: bool = False,
    efficiency: float = EFFICIENCY,
    overhead_ms: float = OVERHEAD_MS,
    reserve_gib: float = 1.0,
    source: str = "this trace",
) -> Offload:
    """Estimate the decoding speed of the 26B-A4B for every fraction of its experts in GPU memory.

    Parameters
    ----------
    curve
        Hit rates, from `expert_cache_curve`. From a trace of another model with as many experts per layer and
        the same top-k (a mini), the result is an illustration: its locality need not be the 26B-A4B's.
    gpu
        The GPU, or its name in `GPUS`.
    link
        GB/s, as reached in practice, at which missing experts are read: for ``"copy"`` about 12 over PCIe
        3.0 × 16 or 4.0 × 8, 25 over PCIe 4.0 × 16, 50 over 5.0 × 16; for ``"cpu"`` that of the host's memory,
        about 35 to 45 for two channels of DDR4, 55 to 80 for DDR5.
    misses
        Where a missing expert is computed; see `OffloadAssumptions`.
    quantisation, embedding_bits
        Of the weights: a key of `gemma_lab.family.BITS_PER_WEIGHT`, or mean bits per weight of a file. A
        published Q4_K_M file of this model (16.8 GB) has 5.29, with the embedding in Q6_K, 6.5625 bits.
    policy
        Of the expert cache, one that `curve` holds.
    context
        Tokens in the key-value cache.
    overlap
        Whether missing experts are read while the GPU works on the cached ones of the same layer, as a CPU
        can in parallel. A layer's router runs after its attention, so without prefetching nothing can start
        earlier.
    efficiency, overhead_ms
        See `gemma_lab.analysis.experts.roofline.EFFICIENCY`.
    reserve_gib
        GPU memory kept free.
    source
        Of the hit rates, for the printout.

    Returns
    -------
    Offload

    Raises
    ------
    LabError
        If the GPU or quantisation is unknown, a bandwidth is not positive, or the curve's experts per layer
        or top-k are not the 26B-A4B's.
    """
    shape = get_architecture("26B-A4B")
    assumptions = OffloadAssumptions(
        gpu=_find_gpu(gpu),
        misses=misses,
        link=link,
        quantisation=quantisation if isinstance(quantisation, str) else f"{quantisation:g}-bit",
        bits=_bits(quantisation),
        embedding_bits=embedding_bits,
        efficiency=efficiency,
        overhead_ms=overhead_ms,
        overlap=overlap,
        context=context,
        reserve_gib=reserve_gib,
        policy=policy,
        source=source,
    )
    _check(assumptions, curve, shape)
    share = np.concatenate([[0.0], curve.share])
    hit_rate = np.concatenate([[0.0], curve.hit_rate(policy, warm=True)])
    sizes = weights(shape, bits=assumptions.bits, embedding_bits=embedding_bits)
    cache = kv_cache_bytes(shape, context)
    used = sizes.expert * shape.top_k * len(shape.layers)
    missed = used * (1 - hit_rate)
    times = {
        ideal: token_seconds(
            dense=sizes.dense + cache,
            hit=used * hit_rate,
            missed=missed,
            bandwidth=assumptions.gpu.bandwidth,
            link=link,
            efficiency=1.0 if ideal else efficiency,
            overhead_ms=0.0 if ideal else overhead_ms,
            overlap=overlap,
        )
        for ideal in (False, True)
    }
    every = sizes.expert * shape.experts * len(shape.layers)
    return Offload(
        assumptions=assumptions,
        share=share,
        hit_rate=hit_rate,
        gpu_bytes=sizes.dense + cache + reserve_gib * GIB + share * every,
        missed_bytes=missed,
        seconds=times[False],
        floor_seconds=times[True],
    )


def _find_gpu(gpu: GPU | str) -> GPU:
    if isinstance(gpu, GPU):
        return gpu
    if gpu not in GPUS:
        raise LabError(
            f"There is no GPU {gpu!r}.", hint=f"Known: {', '.join(GPUS)}; or pass GPU(name, GiB, GB/s)."
        )
    return GPUS[gpu]


def _bits(quantisation: str | float) -> float:
    if isinstance(quantisation, str) and quantisation not in BITS_PER_WEIGHT:
        raise LabError(
            f"There is no quantisation {quantisation!r}.",
            hint=f"There are {', '.join(BITS_PER_WEIGHT)}; or pass its bits per weight, as a number.",
        )
    return BITS_PER_WEIGHT[quantisation] if isinstance(quantisation, str) else float(quantisation)


def _check(assumed: OffloadAssumptions, curve: ExpertCacheCurve, shape: Architecture) -> None:
    if assumed.misses not in ("copy", "cpu"):
        raise LabError(f"misses is {assumed.misses!r}.", hint='It is "copy" or "cpu".')
    if (
        min(assumed.link, assumed.gpu.bandwidth, assumed.bits, assumed.embedding_bits) <= 0
        or not 0 < assumed.efficiency <= 1
    ):
        raise LabError(
            f"link {assumed.link} GB/s, GPU {assumed.gpu.bandwidth} GB/s, {assumed.bits} bits, embedding "
            f"{assumed.embedding_bits} bits, efficiency {assumed.efficiency}.",
            hint="Bandwidths and bits are positive, efficiency is between 0 and 1.",
        )
    if (curve.experts, curve.top_k) != (shape.experts, shape.top_k):
        raise LabError(
            f"The curve is of top-{curve.top_k} of {curve.experts} experts, the 26B-A4B has "
            f"top-{shape.top_k} of {shape.experts}.",
            hint="Trace a model with as many: mini-moe, or the 26B-A4B itself.",
        )

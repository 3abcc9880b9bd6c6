"""What a decoding step and a prompt do on a machine: bytes read and operations. No torch."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .devices import Hardware
    from .models import ModelShape
    from .quantization import Quantization
    from .runtimes import Runtime

BATCH_UNION_EXPONENT = 0.7
"""Sequences route alike: n of them visit as many experts as n^0.7 independent tokens would (two runs of the
26B-A4B with ten users, `measured_runs.csv`)."""

HOST_BANDWIDTH = 50.0
"""GB/s of the computer's memory where it is not given: two channels of DDR4-3200."""
LINK_BANDWIDTH = 25.0
"""GB/s between device and computer where it is not given: PCIe 4.0 with sixteen lanes, as measured."""

_SHARED = ("attention", "dense", "other")
"""Parts of a model that every token reads, beside its head."""


@dataclass(frozen=True)
class Step:
    """What one decoding step does, independent of any constant.

    Attributes
    ----------
    shared_bytes
        Weights that every token reads: attention, dense feed-forward, router, head.
    expert_bytes
        All experts, of which a token reads `expert_share`.
    expert_share
        Share of the experts read in the step.
    global_bytes, local_bytes
        Cache read: layers that see everything; windows and fixed states. Of all sequences.
    layers, kind, family
        Of the model.
    quantization
        Name of the format.
    mean_bits
        Mean bits of a weight.
    hardware_kind, unified, bandwidth, old
        Of the hardware; bandwidth in bytes a second, of one device (devices that hold layers in turn work one
        after another). `old`: a GPU without matrix units.
    runtime, family_of_runtime, date
        Of the program; date as ISO text.
    host_bytes, host_bandwidth, host_share
        Weights read in the step that lie in the computer's memory and are processed there; bytes a second;
        the share of it that the runtime reaches.
    link_bytes, link_bandwidth
        Weights fetched over the link in the step; bytes a second.
    operations, rate
        Operations of the step, and the device's dense 16-bit operations a second (0 if unknown): many
        sequences together can be bound by them.
    """

    shared_bytes: float
    expert_bytes: float
    expert_share: float
    global_bytes: float
    local_bytes: float
    layers: int
    kind: str
    family: str
    quantization: str
    mean_bits: float
    hardware_kind: str
    unified: bool
    bandwidth: float
    old: bool
    runtime: str
    runtime_family: str
    date: str
    host_bytes: float = 0.0
    host_bandwidth: float = HOST_BANDWIDTH * 1e9
    host_share: float = 0.6
    link_bytes: float = 0.0
    link_bandwidth: float = LINK_BANDWIDTH * 1e9
    operations: float = 0.0
    rate: float = 0.0


@dataclass(frozen=True)
class Prompt:
    """What processing a prompt does, independent of any constant.

    Attributes
    ----------
    tokens, piece
        Tokens in all, and tokens of a piece.
    operations
        Of the weights and of attention.
    piece_bytes
        Weights that one piece reads: all experts once it is long enough to visit them.
    rate
        Dense 16-bit operations a second of one device; 0 if unknown.
    step
        The same machine, decoding: its classes name the constants.
    fetched_bytes
        Weights that every piece fetches from the computer's memory over the link.
    """

    tokens: int
    piece: int
    operations: float
    piece_bytes: float
    rate: float
    step: Step
    fetched_bytes: float = 0.0


def decode_step(
    shape: ModelShape,
    weights: Quantization,
    hardware: Hardware,
    runtime: Runtime,
    *,
    depth: int,
    batch: int = 1,
    cache_value_bytes: float = 2.0,
    date: str = "",
    tokens_at_once: int = 1,
    host_parts: Mapping[str, float] | None = None,
    expert_hit_rate: float | None = None,
    expert_share: float | None = None,
) -> Step:
    """Return what one decoding step reads.

    Parameters
    ----------
    shape, weights, hardware, runtime
        What runs where.
    depth
        Tokens in the cache of each sequence.
    batch
        Sequences decoded together.
    cache_value_bytes
        Bytes of a cached number.
    date
        Date of the runtime's build, ISO; default: the newest that was fitted.
    tokens_at_once
        Tokens of a sequence checked together, with a drafter.
    host_parts
        Part → share of its bytes that lie in the computer's memory.
    expert_hit_rate
        Share of expert reads served from the device by an expert cache; the rest crosses the link.
    expert_share
        Share of the experts that the tokens of one sequence load together, where a trace has shown it; by
        default that of `BATCH_UNION_EXPONENT`.
    """
    sizes = weights.weight_bytes(shape)
    host = host_parts or {}
    rows = batch * tokens_at_once
    alike = rows**BATCH_UNION_EXPONENT
    if expert_share is not None:  # so many independent tokens would load as many experts
        together = math.log1p(-expert_share) if expert_share < 1 else -math.inf
        alike = together / math.log1p(-shape.expert_share(1)) * batch**BATCH_UNION_EXPONENT
    union = shape.expert_share(alike) if shape.experts else 0.0
    shared = sum(sizes.get(part, 0.0) * (1 - host.get(part, 0.0)) for part in _SHARED)
    shared += sizes[shape.head_part] * (1 - host.get(shape.head_part, 0.0))
    host_bytes = sum(sizes.get(part, 0.0) * host.get(part, 0.0) for part in (*_SHARED, shape.head_part))
    experts = sizes.get("experts", 0.0)
    host_bytes += experts * union * host.get("experts", 0.0)
    link_bytes = 0.0
    if expert_hit_rate is not None:
        link_bytes = experts * union * (1 - expert_hit_rate)
        host_bytes -= experts * union * host.get("experts", 0.0)
        device_experts = experts
    else:
        device_experts = experts * (1 - host.get("experts", 0.0))
    read = shape.read_cache_bytes(depth, value_bytes=cache_value_bytes)
    return Step(
        shared_bytes=shared,
        expert_bytes=device_experts,
        expert_share=union,
        global_bytes=batch * read.get("global", 0.0),
        local_bytes=batch * (read.get("local", 0.0) + read.get("linear", 0.0)),
        layers=shape.layers,
        kind=shape.kind,
        family=shape.family,
        quantization=weights.name,
        mean_bits=weights.mean_bits(shape),
        hardware_kind=hardware.kind,
        unified=hardware.unified,
        bandwidth=(hardware.bandwidth_gb_s or 0.0) * 1e9,
        old=is_old(hardware),
        runtime=runtime.name,
        runtime_family=runtime.family,
        date=date,
        host_bytes=max(0.0, host_bytes),
        host_bandwidth=(hardware.host_bandwidth_gb_s or HOST_BANDWIDTH) * 1e9,
        host_share=runtime.host_share,
        link_bytes=link_bytes,
        link_bandwidth=(hardware.link_gb_s or LINK_BANDWIDTH) * 1e9,
        operations=2.0 * rows * (shape.compute_parameters() + shape.parts[shape.head_part])
        if rows > 1
        else 0.0,
        rate=(hardware.tensor_tflops or 0.0) * 1e12,
    )


def is_old(hardware: Hardware) -> bool:
    """Return whether a GPU has no matrix units, as far as its rate tells (Pascal and before)."""
    if hardware.kind != "cuda" or not hardware.tensor_tflops or not hardware.bandwidth_gb_s:
        return False
    return hardware.tensor_tflops / hardware.bandwidth_gb_s < 0.0285


def prompt_work(
    shape: ModelShape,
    weights: Quantization,
    hardware: Hardware,
    runtime: Runtime,
    *,
    tokens: int,
    step: Step,
    host_parts: Mapping[str, float] | None = None,
) -> Prompt:
    """Return what processing a prompt of `tokens` tokens does; `step` is a decoding step of the same setting.

    Weights in the computer's memory (`host_parts`: part → share) are fetched over the link for every piece.
    """
    piece = min(tokens, runtime.piece)
    sizes = weights.weight_bytes(shape)
    read = {part: sizes.get(part, 0.0) for part in _SHARED}
    read["experts"] = sizes.get("experts", 0.0) * shape.expert_share(piece**BATCH_UNION_EXPONENT)
    host = host_parts or {}
    return Prompt(
        tokens=tokens,
        piece=piece,
        operations=2.0 * shape.compute_parameters() * tokens + shape.attention_operations(tokens),
        piece_bytes=sum(read.values()),
        rate=(hardware.tensor_tflops or 0.0) * 1e12,
        step=step,
        fetched_bytes=sum(size * host.get(part, 0.0) for part, size in read.items()),
    )

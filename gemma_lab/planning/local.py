"""Plans for the machine that this process runs on, for `doctor` and for the refusals of `load`. No torch."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..errors import LabError
from .devices import GIB, Hardware, find_hardware
from .models import ModelShape, shape_of
from .planner import plan
from .plans import Plan

if TYPE_CHECKING:
    from ..family.architecture import Architecture

CONTEXT = 8192
"""Tokens that a plan for this machine makes room for, or the model's own context if that is shorter: what a
chat about a document takes."""

_BESIDE = ("cache_global", "cache_local", "activations", "overhead")
_KINDS = {"cuda": "cuda", "rocm": "rocm", "mps": "metal", "cpu": "cpu"}


def local_hardware(*, kind: str, label: str, total: int, free: int) -> Hardware:
    """Return a device of this machine as hardware of a plan.

    Parameters
    ----------
    kind
        ``"cuda"``, ``"rocm"``, ``"mps"`` or ``"cpu"``, as torch calls the device.
    label
        Its name, e.g. ``"NVIDIA GeForce RTX 3090"``; a known one brings bandwidth and rate.
    total, free
        Bytes of its memory, and of what is free now.
    """
    known: Hardware | None = None
    if kind != "cpu":
        try:
            known = find_hardware(label)
        except LabError:  # a device that the shipped table does not have: memory only
            known = None
    return Hardware(
        name=label,
        kind=_KINDS[kind],
        memory_gib=total / GIB,
        free_gib=max(free, 1) / GIB,
        bandwidth_gb_s=known.bandwidth_gb_s if known else None,
        tensor_tflops=known.tensor_tflops if known else None,
        price_usd=known.price_usd if known else None,
        power_w=known.power_w if known else None,
        unified=kind in ("mps", "cpu"),
        source=known.source if known else "this machine",
    )


def working_bytes(model: Architecture | ModelShape, *, kind: str, value_bytes: int = 2) -> int:
    """Return what a loaded model needs beside its weights: cache, activations, and the runtime's own.

    The same parts as in a plan for transformers with `CONTEXT` tokens, so that a refusal to load, the report
    of `doctor` and a plan agree.

    Parameters
    ----------
    model
        The architecture.
    kind
        ``"cuda"``, ``"rocm"``, ``"mps"`` or ``"cpu"``.
    value_bytes
        Bytes of a number: 2 for bfloat16, 4 for float32.
    """
    here = local_hardware(kind=kind, label="this device", total=GIB, free=GIB)
    made = local_plan(model, hardware=here, quantization="fp32" if value_bytes == 4 else "bf16")
    beside = sum(part.bytes for part in made.parts if part.key in _BESIDE)
    return round(beside)


def local_plan(
    model: Architecture | ModelShape,
    *,
    hardware: Hardware,
    quantization: str = "bf16",
    runtime: str = "transformers",
    context: int | None = None,
) -> Plan:
    """Return the plan of an architecture on this machine: ``fits``, ``needed_bytes``, ``longest_context``.

    Parameters
    ----------
    model
        A size's architecture, or that of any checkpoint.
    hardware
        From `local_hardware`.
    quantization, runtime
        As `plan` takes them: ``"bf16"`` or ``"fp32"`` with transformers, ``"Q4_0"`` with llama.cpp.
    context
        Tokens. Default: `CONTEXT`, or the model's own if that is shorter.
    """
    length = min(CONTEXT, model.context) if context is None else context
    return plan(
        model if isinstance(model, ModelShape) else shape_of(model),
        hardware=hardware,
        quantization=quantization,
        runtime=runtime,
        context=length,
        prompt=min(1000, length),
        cache="fp32" if quantization == "fp32" else "f16",
    )

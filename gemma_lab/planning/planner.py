"""`plan`: from names and numbers, checked, to a `Plan`. No torch."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from ..checks import short_repr, whole_number
from ..errors import LabError
from .devices import Hardware, find_hardware
from .drafting import drafting
from .expert_cache import CacheCurve, OffloadCurve
from .memory import Setting, fits, memory_parts
from .models import ModelShape, model_shape
from .offload import cached_experts, offloaded, spilled_shares
from .plans import Plan
from .quantization import Quantization, cache_bits, quantization, quantization_names
from .runtimes import Runtime, check_runs_on, find_runtime

_MAX_SEQUENCES, _MAX_SOFT_TOKENS = 65_536, 1_000_000


def plan(
    model: str | ModelShape,
    *,
    hardware: str | Mapping[str, Any] | Hardware,
    quantization: str | float | Quantization | None = None,
    file_bytes: float | None = None,
    context: int = 8192,
    batch: int = 1,
    images: int = 0,
    runtime: str | Runtime = "llama.cpp",
    runtime_date: str = "",
    cache: str = "f16",
    drafter: bool | Mapping[str, Any] | None = None,
    offload: str = "none",
    expert_hit_rate: float | CacheCurve | OffloadCurve | None = None,
    depth: int | None = None,
    prompt: int = 1000,
) -> Plan:
    """Plan a model on a machine: what it takes, how fast it runs, what it costs.

    Parameters
    ----------
    model
        A size (``"26B-A4B"``), a checkpoint of the catalog, ``"Gemma 3 27B"``, ``"Qwen3.6-35B-A3B"``.
    hardware
        A name (``"RTX 3090"``, ``"2x RTX 5060 Ti"``, ``"M4 Max"``, ``"laptop"``), or a mapping with any of
        ``memory_gib``, ``bandwidth_gb_s``, ``tensor_tflops``, … (see `find_hardware`); what is unknown is
        left out, and so is what depends on it.
    quantization
        A name (``"Q4_K_M"``, ``"bf16"``, ``"w4a16"``) or a file's size in bytes. Default: the runtime's
        usual.
    file_bytes
        Size of the decoder's file, to which a named quantisation is scaled.
    context
        Tokens of a sequence that the cache is allocated for.
    batch
        Sequences decoded together.
    images
        Soft tokens of pictures processed at once; they count towards the context as the prompt does.
    runtime
        ``"llama.cpp"``, ``"Ollama"``, ``"vLLM"``, ``"MLX"``, ``"transformers"`` or ``"LiteRT-LM"``.
    runtime_date
        Date of its build, ISO: llama.cpp decodes twice as fast in October 2026 as in April. Default: newest.
    cache
        Type of the cache: ``"f16"``, ``"q8_0"``, ``"q4_0"``, ``"fp8"``.
    drafter
        True for the model's own drafter at published acceptance, or a mapping with any of ``tokens``,
        ``acceptance``, ``bits``, ``expert_share`` (the share of a layer's experts that the tokens of a pass
        load together; `gemma_lab.analysis.expert_unions` counts it).
    offload
        What may lie in the computer's memory: ``"none"``, ``"experts"`` (all of them), ``"layers"`` (as many
        as do not fit) or ``"auto"`` (as much as does not fit, in the runtime's way: experts first, or
        whole layers).
    expert_hit_rate
        Share of expert reads that a cache of experts on the device serves (0 to 1); the rest is fetched over
        the link. Or the curve of a real trace, from ``gl.analysis.expert_cache_curve`` or
        ``gl.analysis.offload_speed``: it is read at the capacity that the device's memory leaves, which
        `Plan.expert_cache` states.
    depth
        Tokens in the cache for the speed. Default: 1,024, or the context if that is shorter.
    prompt
        Tokens of the prompt for the time to the first token.

    Returns
    -------
    Plan

    Raises
    ------
    LabError
        If a name is not known (the message has near ones), a number is out of range, or a runtime lacks a
        quantisation, a cache type or the hardware.

    Examples
    --------
    >>> gl.plan("26B-A4B", hardware="RTX 5060 Ti", quantization="IQ4_XS", context=262_144, cache="q4_0")
    >>> gl.plan("31B", hardware={"memory_gib": 48, "bandwidth_gb_s": 900}, context=65_536).longest_context
    """
    shape, machine, program = model_shape(model), find_hardware(hardware), find_runtime(runtime)
    check_runs_on(program, machine.kind)
    weights = _weights(quantization, file_bytes, program)
    context = whole_number("context", context, minimum=1, maximum=shape.context)
    prompt = whole_number("prompt", prompt, minimum=1, maximum=shape.context)
    batch = whole_number("batch", batch, minimum=1, maximum=_MAX_SEQUENCES)
    images = whole_number("images", images, minimum=0, maximum=_MAX_SOFT_TOKENS)
    if depth is not None:
        depth = whole_number("depth", depth, minimum=0, maximum=shape.context)
    _check_date(runtime_date)
    use = drafting(drafter, shape)
    setting = Setting(
        shape=shape,
        weights=weights,
        hardware=machine,
        runtime=program,
        context=context,
        batch=batch,
        cache_bits=cache_bits(cache, program.name),
        images=images,
        drafter_bits=None if use is None else use.bits,
    )
    experts = cached_experts(setting, expert_hit_rate)
    setting = replace(setting, placement=offloaded(setting, offload, experts))
    return Plan(
        setting=setting,
        parts=memory_parts(setting),
        fits=fits(setting),
        depth=min(1024, context) if depth is None else depth,
        prompt_tokens=min(prompt, context),
        date=runtime_date,
        drafter=use,
        spilled=spilled_shares(setting),
        expert_cache=experts,
    )


def _weights(
    name: str | float | Quantization | None, file_bytes: float | None, runtime: Runtime
) -> Quantization:
    wanted = runtime.default_quantization if name is None else name
    weights = quantization(wanted, runtime=runtime.name, file_bytes=file_bytes)
    if weights.runtimes and runtime.name not in weights.runtimes:
        raise LabError(
            f"{runtime.name} does not read {weights.name}; {', '.join(weights.runtimes)} "
            f"{'does' if len(weights.runtimes) == 1 else 'do'}.",
            hint=f"It reads {', '.join(quantization_names(runtime.name))}.",
        )
    return weights


def _check_date(date: str) -> None:
    if date == "":
        return
    try:
        if not isinstance(date, str) or len(date) not in (4, 7, 10):
            raise ValueError
        dt.date.fromisoformat(date + "2000-01-01"[len(date) :])
    except ValueError as error:
        raise LabError(
            f"runtime_date is an ISO date, not {short_repr(date)}.", hint='E.g. "2026-06" or "2026-06-15".'
        ) from error

"""Time of a decoding step and of a prompt, from bytes read, operations and fitted constants. No torch.

A step reads the weights that one token uses and the cache of what came before, and starts a fixed number of
kernels in every layer::

    t = weights / (e · bandwidth) + layers · τ + cache / (e_kv · bandwidth)

The shares ``e``, ``e_kv`` and the time ``τ`` are products of a few factors (kind of hardware, runtime and its
date, kind of model, format of the weights), fitted by ``tools/planning/fit.py`` to the measured runs.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

from .facts import read_facts

if TYPE_CHECKING:
    from .workload import Prompt, Step

REFERENCE_BANDWIDTH = 936e9
"""Bandwidth of an RTX 3090, on which most runs were measured; the time of a layer is relative to it."""

Constants = Mapping[str, float]


def decode_seconds(step: Step, constants: Constants) -> float:
    """Return the seconds of one decoding step.

    Parameters
    ----------
    step
        What it reads.
    constants
        Logarithms of the factors, as `fitted_constants` returns them.
    """
    weights, layers, cache = decode_terms(step, constants)
    spilled = (
        step.host_bytes / (step.host_share * step.host_bandwidth) + step.link_bytes / step.link_bandwidth
    )
    return weights + layers + cache + spilled


def decode_terms(step: Step, constants: Constants) -> tuple[float, float, float]:
    """Return the seconds of reading weights, of starting kernels, and of reading the cache."""
    share = math.exp(weight_share_log(step, constants))
    expert = math.exp(constants["expert_share"]) * share
    weights = step.shared_bytes / (share * step.bandwidth)
    weights += step.expert_bytes * step.expert_share / (expert * step.bandwidth)
    if step.operations and step.rate:
        weights = max(weights, step.operations / (math.exp(prompt_share_log(step, constants)) * step.rate))
    overhead = step.layers * math.exp(layer_time_log(step, constants)) * 1e-3
    kv = math.exp(constants["cache_share"] + constants.get(f"cache_share.{step.kind}", 0.0))
    local = math.exp(constants["cache_share"])
    cache = step.global_bytes / (kv * step.bandwidth) + step.local_bytes / (local * step.bandwidth)
    return weights, overhead, cache


def prompt_seconds(prompt: Prompt, constants: Constants) -> float | None:
    """Return the seconds until the prompt is processed; None if the rate of operations is unknown.

    The longer of computing and of reading the weights for every piece, and the kernels of every piece.
    """
    if not prompt.rate:
        return None
    share = math.exp(prompt_share_log(prompt.step, constants))
    computing = prompt.operations / (share * prompt.rate)
    pieces = math.ceil(prompt.tokens / prompt.piece)
    reading = (
        pieces
        * prompt.piece_bytes
        / (math.exp(weight_share_log(prompt.step, constants)) * prompt.step.bandwidth)
    )
    starting = pieces * prompt.step.layers * math.exp(layer_time_log(prompt.step, constants)) * 1e-3
    fetching = pieces * prompt.fetched_bytes / prompt.step.link_bandwidth
    return max(computing, reading) + starting + fetching


def prompt_share_log(step: Step, constants: Constants) -> float:
    """Return the logarithm of the share of the 16-bit rate that a prompt is computed at."""
    value = constants["prompt_share"]
    value += constants.get(f"prompt_share.{'moe' if 'moe' in model_class(step) else step.kind}", 0.0)
    value += constants.get(f"prompt_share.{hardware_class(step)}", 0.0)
    if step.runtime_family == "vLLM":
        value += constants.get(f"prompt_share.{weight_format(step)}", 0.0)
    return value


def bound_seconds(step: Step) -> float:
    """Return the least seconds of a step: every byte read once at the full bandwidth, nothing else.

    A measured run that is faster did not read the model for every token: a drafter, or a cached answer.
    """
    read = step.shared_bytes + step.expert_bytes * step.expert_share + step.global_bytes + step.local_bytes
    return (
        read / step.bandwidth + step.host_bytes / step.host_bandwidth + step.link_bytes / step.link_bandwidth
    )


def weight_share_log(step: Step, constants: Constants) -> float:
    """Return the logarithm of the share of the bandwidth at which weights are read."""
    value = constants["weight_share"]
    value += constants.get(f"weight_share.{hardware_class(step)}", 0.0)
    value += constants.get(f"weight_share.{weight_format(step)}", 0.0)
    if step.old:
        value += constants["weight_share.old"]
    return min(value, math.log(0.97))


def layer_time_log(step: Step, constants: Constants) -> float:
    """Return the logarithm of the milliseconds that a layer takes beyond reading."""
    value = constants["layer_time"]
    value += constants.get(f"layer_time.{model_class(step)}", 0.0)
    value += constants.get(f"layer_time.{step.runtime}", 0.0)
    value += constants.get(f"layer_time.{hardware_class(step)}", 0.0)
    if step.runtime_family == "llama.cpp":
        value += constants.get(f"layer_time.{era(step.date)}", 0.0)
    if step.hardware_kind == "cpu":
        return value
    # small kernels take longer on a small card: fewer units and lower clocks, which its bandwidth stands for
    return value + constants["layer_time.bandwidth"] * math.log(step.bandwidth / REFERENCE_BANDWIDTH)


def model_class(step: Step) -> str:
    """Return the class of a model: ``"dense"``, ``"edge"``, ``"moe"`` or ``"linear-moe"``."""
    return "linear-moe" if step.family == "qwen3.5" else step.kind


def hardware_class(step: Step) -> str:
    """Return the class of hardware: its kind, and ``"cuda-unified"`` for a GPU on the computer's memory."""
    return speed_class(step.hardware_kind, unified=step.unified)


def speed_class(kind: str, *, unified: bool) -> str:
    """Return the class of a kind of hardware that constants are named by."""
    return "cuda-unified" if kind == "cuda" and unified else kind


def weight_format(step: Step) -> str:
    """Return the class of a weight format: how much work it is to unpack."""
    name = step.quantization.lower()
    if step.runtime_family == "vLLM":
        return (
            "vllm-4bit-float"
            if "nvfp4" in name
            else "vllm-8bit"
            if step.mean_bits > 6 and step.mean_bits < 14
            else "plain"
        )
    if step.mean_bits < 4.05 or name.startswith(("iq", "q2", "q3")):
        return "low-bit"
    return "plain"


def era(date: str) -> str:
    """Return the era of llama.cpp's decoding: ``"early"``, ``"middle"`` or ``"late"``.

    June 2026 brought fused expert kernels to the measured runs, October 2026 pull request 29152. No date
    means the newest.
    """
    if not date or date >= "2026-10":
        return "late"
    return "early" if date < "2026-06" else "middle"


def fitted_constants() -> Constants:
    """Return the fitted constants: logarithms by name."""
    values: Constants = read_facts("constants.json")["log"]
    return values

"""What to change when a model does not fit, and what limits it when it does. No torch."""

from __future__ import annotations

from dataclasses import replace

from ..errors import LabError
from .devices import known_hardware
from .memory import GIB, Placement, Setting, fits, memory_parts, total_bytes
from .quantization import cache_bits, quantization, quantization_names

_SHORTEST = 2048
"""Tokens below which a shorter context is no advice."""


def advice_for(setting: Setting, longest: int | None) -> tuple[str, ...]:
    """Return lines of advice, the least change first; empty if it fits or the memory is unknown.

    Parameters
    ----------
    setting
        What does not fit.
    longest
        Its `longest_context`.
    """
    usable = setting.hardware.usable_bytes
    if usable is None:
        return ()
    needed = total_bytes(memory_parts(setting))
    if needed <= usable:
        return ()
    label = setting.hardware.label
    lines = [
        f"{(needed - usable) / GIB:.1f} GiB too much for the {usable / GIB:.1f} GiB that {label} leaves free."
    ]
    found = [
        f"A context of {longest // 256 * 256:,} tokens fits." if longest and longest >= _SHORTEST else "",
        _smaller_cache(setting),
        _lower_bits(setting),
        _on_host(setting, needed - usable),
        _more_devices(setting),
    ]
    lines += [line for line in found if line]
    if len(lines) == 1:
        lines.append(_other_card(needed))
    return tuple(lines)


def _smaller_cache(setting: Setting) -> str:
    for name in ("q8_0", "fp8", "q4_0"):
        try:
            bits = cache_bits(name, setting.runtime.name)
        except LabError:  # the runtime lacks the type
            continue
        if bits < setting.cache_bits and fits(replace(setting, cache_bits=bits)):
            return f"A cache of type {name} fits at this context."
    return ""


def _lower_bits(setting: Setting) -> str:
    """Name the largest quantisation of the runtime that fits."""
    now = setting.weights.mean_bits(setting.shape)
    known = (quantization(name) for name in quantization_names(setting.runtime.name))
    options = [(option.mean_bits(setting.shape), option) for option in known]
    for bits, option in sorted(options, key=lambda pair: -pair[0]):
        if bits < now and fits(replace(setting, weights=option)):
            return f"{option.name} ({bits:.1f} bits a weight) fits at this context."
    return ""


def _on_host(setting: Setting, excess: float) -> str:
    """Name the weights that may lie in main memory; `excess` is the bytes that do not fit."""
    if setting.hardware.unified:
        return ""
    lines = []
    if "ple_table" in setting.weights.weight_bytes(setting.shape) and not setting.runtime.ple_on_host:
        placed = replace(setting, placement=Placement({**setting.placement.shares, "ple_table": 1.0}))
        if fits(placed):
            lines.append("With the per-layer embeddings in main memory it fits (llama.cpp keeps them there).")
    if setting.shape.experts:
        experts = setting.weights.weight_bytes(setting.shape)["experts"]
        if excess < experts:
            lines.append(
                f'With {excess / experts:.0%} of the experts in main memory it fits, slower: offload="auto".'
            )
    return " ".join(lines)


def _more_devices(setting: Setting) -> str:
    if setting.hardware.unified:
        return ""
    for count in range(setting.hardware.devices + 1, 9):
        if fits(replace(setting, hardware=replace(setting.hardware, devices=count))):
            return f"{count} of these cards hold it."
    return ""


def _other_card(needed: float) -> str:
    able = [
        card
        for card in known_hardware().values()
        if card.usable_bytes is not None and card.usable_bytes >= needed
    ]
    if not able:
        return "No known hardware holds it alone."
    smallest = min(able, key=lambda card: card.memory_gib or 0)
    return f"The smallest known hardware that holds it is {smallest.name} ({smallest.memory_gib:g} GiB)."

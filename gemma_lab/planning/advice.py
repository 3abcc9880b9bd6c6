"""What to change when a model does not fit, and what limits it when it does. No torch."""

from __future__ import annotations

from dataclasses import replace

from ..errors import LabError
from .devices import known_hardware
from .memory import GIB, Placement, Setting, fits, longest_context, memory_parts, total_bytes
from .quantization import cache_bits, quantization, quantization_names

_SHORTEST = 2048
"""Tokens below which a shorter context is no advice."""


def advice_for(setting: Setting) -> tuple[str, ...]:
    """Return lines of advice, the least change first; empty if it fits or the memory is unknown."""
    usable = setting.hardware.usable_bytes
    if usable is None or fits(setting):
        return ()
    excess = (total_bytes(memory_parts(setting)) - usable) / GIB
    lines = [
        f"{excess:.1f} GiB too much for the {usable / GIB:.1f} GiB that {setting.hardware.label} leaves free."
    ]
    found = [
        _shorter(setting),
        _smaller_cache(setting),
        _lower_bits(setting),
        _on_host(setting),
        _more_devices(setting),
    ]
    lines += [line for line in found if line]
    if len(lines) == 1:
        lines.append(_other_card(setting))
    return tuple(lines)


def _shorter(setting: Setting) -> str:
    longest = longest_context(setting) or 0
    if longest < _SHORTEST:
        return ""
    return f"A context of {longest // 256 * 256:,} tokens fits."


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
    options = sorted(
        (quantization(name) for name in quantization_names(setting.runtime.name)),
        key=lambda each: -each.mean_bits(setting.shape),
    )
    for option in options:
        bits = option.mean_bits(setting.shape)
        if bits < now and fits(replace(setting, weights=option)):
            return f"{option.name} ({bits:.1f} bits a weight) fits at this context."
    return ""


def _on_host(setting: Setting) -> str:
    if setting.hardware.unified:
        return ""
    lines = []
    if "ple_table" in setting.weights.weight_bytes(setting.shape) and not setting.runtime.ple_on_host:
        placed = replace(setting, placement=Placement({**setting.placement.shares, "ple_table": 1.0}))
        if fits(placed):
            lines.append("With the per-layer embeddings in main memory it fits (llama.cpp keeps them there).")
    if setting.shape.experts:
        excess = total_bytes(memory_parts(setting)) - (setting.hardware.usable_bytes or 0.0)
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


def _other_card(setting: Setting) -> str:
    needed = total_bytes(memory_parts(setting))
    able = [
        card
        for card in known_hardware().values()
        if card.usable_bytes is not None and card.usable_bytes >= needed
    ]
    if not able:
        return "No known hardware holds it alone."
    smallest = min(able, key=lambda card: card.memory_gib or 0)
    return f"The smallest known hardware that holds it is {smallest.name} ({smallest.memory_gib:g} GiB)."

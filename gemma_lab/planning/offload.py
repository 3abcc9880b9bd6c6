"""What of a model lies in the computer's memory instead of the device's. No torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from ..errors import LabError
from .expert_cache import expert_cache
from .facts import unknown
from .memory import Placement, fits, memory_parts, total_bytes

if TYPE_CHECKING:
    from .expert_cache import CacheCurve, ExpertCache, OffloadCurve
    from .memory import Setting

OFFLOADS = ("none", "auto", "experts", "layers")
"""What `gemma_lab.plan` can be told to offload."""


def cached_experts(setting: Setting, rate: float | CacheCurve | OffloadCurve | None) -> ExpertCache | None:
    """Return the cache of experts that a hit rate, or a curve at the memory that is left, stands for.

    Raises
    ------
    LabError
        If nothing lies beyond a link, or the rate is not valid.
    """
    if rate is None:
        return None
    if setting.hardware.unified:
        raise LabError(
            f"{setting.hardware.name} shares its memory with the processor, so no expert crosses a link.",
            hint="Leave out expert_hit_rate.",
        )
    usable, capacity = setting.hardware.usable_bytes, None
    experts = setting.weights.weight_bytes(setting.shape).get("experts", 0.0)
    if usable is not None and experts:
        excess = total_bytes(memory_parts(setting)) - usable
        capacity = min(1.0, max(0.0, 1.0 - excess / experts))
    return expert_cache(rate, setting.shape, capacity=capacity)


def offloaded(setting: Setting, offload: str, experts: ExpertCache | None) -> Placement:
    """Return what lies on the host for a value of `OFFLOADS`, or beside a cache of experts.

    Raises
    ------
    LabError
        If the value is not known, contradicts the cache, or there are no experts.
    """
    if offload not in OFFLOADS:
        raise unknown("offload", offload, OFFLOADS)
    if experts is not None and offload != "none":
        raise LabError(
            f'offload="{offload}" and expert_hit_rate both place the experts.', hint="Leave one of them out."
        )
    if experts is not None:
        held = 1.0 if experts.share is None else experts.share
        return Placement({"experts": 1.0 - held} if held < 1 else {})
    if offload == "none" or setting.hardware.unified:
        return Placement()
    if offload == "experts":
        if not setting.shape.experts:
            raise LabError(f"{setting.shape.name} has no experts to offload.", hint='Use offload="layers".')
        return Placement({"experts": 1.0})
    return least_offload(setting, experts_first=offload == "auto" and setting.runtime.offload == "experts")


def least_offload(setting: Setting, *, experts_first: bool) -> Placement:
    """Return the least shares on the host with which the rest fits on the device."""
    usable = setting.hardware.usable_bytes
    if usable is None:
        return Placement()
    parts = memory_parts(setting)
    excess = total_bytes(parts) - usable
    if excess <= 0:
        return Placement()
    excess += 1.0  # a byte more, lest rounding leave the device too full
    sizes = {part.key: part.bytes for part in parts if part.place == "device"}
    shares: dict[str, float] = {}
    if experts_first and sizes.get("experts"):
        shares["experts"] = min(1.0, excess / sizes["experts"])
        excess -= shares["experts"] * sizes["experts"]
    rest = {
        key: sizes[key]
        for key in ("attention", "dense", "experts", "other")
        if key in sizes and key not in shares
    }
    if excess > 0 and rest:
        share = min(1.0, excess / sum(rest.values()))
        shares |= dict.fromkeys(rest, share)
    return Placement({key: share for key, share in shares.items() if share > 0})


def spilled_shares(setting: Setting) -> Mapping[str, float]:
    """Return part → share on the host: as placed, or, where that does not fit, what has to go there."""
    placed = setting.placement.shares
    if fits(setting) is not False or setting.hardware.unified:
        return placed
    experts_first = not placed and setting.runtime.offload == "experts"
    return {**placed, **least_offload(setting, experts_first=experts_first).shares}

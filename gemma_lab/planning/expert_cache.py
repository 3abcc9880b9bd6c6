"""Hit rate of a cache of experts on the device: a number, or read from a replayed trace. No torch.

The curves come from `gemma_lab.analysis`, which may import this package and not the other way round, so
protocols describe them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from ..checks import real_number, short_repr
from ..errors import LabError

if TYPE_CHECKING:
    from .models import ModelShape


@runtime_checkable
class CacheCurve(Protocol):
    """What `gemma_lab.analysis.expert_cache_curve` returns."""

    @property
    def experts(self) -> int:
        """Experts of a layer."""

    @property
    def top_k(self) -> int:
        """Experts that a token visits in a layer."""

    @property
    def tokens(self) -> int:
        """Tokens replayed."""

    @property
    def shared(self) -> bool:
        """Whether one cache serves all layers."""

    @property
    def hits(self) -> Mapping[str, Any]:
        """Policy → hits."""

    @property
    def share(self) -> Any:
        """Share of all experts that each size holds."""

    def hit_rate(self, policy: str = "lru", *, warm: bool = False) -> Any:
        """Return hits ÷ requests at each size."""


@runtime_checkable
class OffloadCurve(Protocol):
    """What `gemma_lab.analysis.offload_speed` returns."""

    @property
    def assumptions(self) -> Any:
        """What the estimate assumes: `policy` and `source` among it."""

    @property
    def share(self) -> Any:
        """Share of all experts on the device, from 0."""

    @property
    def hit_rate(self) -> Any:
        """Hit rate at each share."""

    @property
    def missed_bytes(self) -> Any:
        """Bytes of missing experts of a token at each share."""


@dataclass(frozen=True)
class ExpertCache:
    """A cache of experts on the device; what misses it is fetched over the link.

    Attributes
    ----------
    hit_rate
        Share of the expert reads that it serves.
    share
        Share of all experts that it holds: the largest size that fits beside the rest. None where the
        device's memory is unknown.
    policy
        Eviction policy of the replay; ``""`` if the rate was given as a number.
    source
        Where the rate comes from, with the capacity at which it was read.
    """

    hit_rate: float
    share: float | None
    policy: str
    source: str

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as plain data."""
        return dict(vars(self))


def expert_cache(
    rate: float | CacheCurve | OffloadCurve, shape: ModelShape, *, capacity: float | None
) -> ExpertCache:
    """Return the expert cache of a plan.

    Parameters
    ----------
    rate
        The hit rate, 0 to 1; or a curve, which is read at the largest size within `capacity`, with first
        uses left out (a warm cache). Of several replayed policies LRU is taken.
    shape
        The model.
    capacity
        Share of all experts for which the device has memory; None if its memory is unknown.

    Raises
    ------
    LabError
        If the model has no experts, the rate is not between 0 and 1, the curve is of another number of
        experts, or a curve is given and the capacity is unknown.
    """
    if not shape.experts:
        raise LabError(
            f"{shape.name} has no experts, so expert_hit_rate={short_repr(rate)} does not apply.",
            hint="Leave it out.",
        )
    if isinstance(rate, CacheCurve):
        return _read_curve(rate, shape, capacity)
    if isinstance(rate, OffloadCurve):
        if (shape.experts, shape.top_k) != (128, 8) or shape.key != "26B-A4B":
            raise LabError(
                f"The estimate is of the 26B-A4B, the plan of {shape.name}.",
                hint="Pass a curve of that model's routing: gl.analysis.expert_cache_curve.",
            )
        assumed = rate.assumptions
        return _at_capacity(
            [float(share) for share in rate.share],
            [float(each) for each in rate.hit_rate],
            capacity,
            assumed.policy,
            f"hit rates from {assumed.source}",
            shape,
        )
    curve = "gl.analysis.expert_cache_curve(trace.routing)"
    hint = f"For example 0.5; or pass the curve of a trace: {curve}."
    value = real_number("expert_hit_rate", rate, minimum=0, maximum=1, hint=hint)
    held = "" if capacity is None else f"; the cache holds {capacity:.1%} of the experts"
    return ExpertCache(value, capacity, "", f"given{held}")


def _read_curve(curve: CacheCurve, shape: ModelShape, capacity: float | None) -> ExpertCache:
    if (curve.experts, curve.top_k) != (shape.experts, shape.top_k):
        raise LabError(
            f"The curve is of top-{curve.top_k} of {curve.experts} experts, {shape.name} has "
            f"top-{shape.top_k} of {shape.experts}.",
            hint="Trace a model with the same number of experts and the same top-k.",
        )
    policy = "lru" if "lru" in curve.hits else next(iter(curve.hits))
    kind = "one cache for all layers" if curve.shared else "one cache per layer"
    return _at_capacity(
        [0.0, *(float(share) for share in curve.share)],
        [0.0, *(float(each) for each in curve.hit_rate(policy, warm=True))],
        capacity,
        policy,
        f"replay of {curve.tokens:,} tokens, {kind}, first uses left out",
        shape,
    )


def _at_capacity(
    shares: list[float],
    rates: list[float],
    capacity: float | None,
    policy: str,
    source: str,
    shape: ModelShape,
) -> ExpertCache:
    if capacity is None:
        raise LabError(
            "The device's memory is unknown, and with it the size of its expert cache.",
            hint="Give memory_gib of the hardware, or the hit rate as a number.",
        )
    size = max(place for place, share in enumerate(shares) if share <= capacity + 1e-9)
    share, rate = shares[size], rates[size]
    where = f"{share * shape.experts:.0f} of {shape.experts} experts of a layer ({share:.1%})"
    return ExpertCache(rate, share, policy, f"{policy.upper()} with {where}; {source}")

"""Plans, without torch: which model fits on which hardware, how fast it runs and what it costs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..lazy import lazy_names

if TYPE_CHECKING:
    from .cost import Costs, Ownership, TokenCost, break_even_tokens, monthly_cost
    from .devices import Hardware, find_hardware, hardware_names
    from .drafting import published_drafts
    from .estimates import Estimate
    from .evidence import MeasuredRun, measured_runs
    from .expert_cache import ExpertCache
    from .licensing import Licence, Licences, licences
    from .measurement import SpeedPoint, SpeedReport
    from .memory import MemoryPart
    from .models import ModelShape, model_shape
    from .planner import plan
    from .plans import Plan
    from .prices import (
        HostedPrice,
        PriceEnded,
        RentalPrice,
        hosted_price,
        hosted_prices,
        rental_price,
        rental_prices,
    )
    from .quantization import Quantization, integer_weights, quantization_names

__all__ = [
    "Costs",
    "Estimate",
    "ExpertCache",
    "Hardware",
    "HostedPrice",
    "Licence",
    "Licences",
    "MeasuredRun",
    "MemoryPart",
    "ModelShape",
    "Ownership",
    "Plan",
    "PriceEnded",
    "Quantization",
    "RentalPrice",
    "SpeedPoint",
    "SpeedReport",
    "TokenCost",
    "break_even_tokens",
    "find_hardware",
    "hardware_names",
    "hosted_price",
    "hosted_prices",
    "integer_weights",
    "licences",
    "measured_runs",
    "model_shape",
    "monthly_cost",
    "plan",
    "published_drafts",
    "quantization_names",
    "rental_price",
    "rental_prices",
]

__getattr__, __dir__ = lazy_names(globals())

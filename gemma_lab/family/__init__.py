"""The Gemma 4 family in numbers, without torch: architectures, parameters, memory, published claims."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..lazy import lazy_names

if TYPE_CHECKING:
    from .architecture import SIZES, Architecture, Layer, configuration, get_architecture
    from .caches import KVCache, kv_caches
    from .catalog import Catalog, Checkpoint
    from .changes import Changes, changes_since_gemma3
    from .claims import Claim, Claims, memory_claims, parameter_claims
    from .memory import BITS_PER_WEIGHT, kv_cache_bytes, kv_cache_slope, weight_bytes
    from .parameters import PARAMETER_GROUPS, Parameters, count_parameters, matrix_parameters
    from .published import Benchmark, Published
    from .sources import Source

__all__ = [
    "BITS_PER_WEIGHT",
    "PARAMETER_GROUPS",
    "SIZES",
    "Architecture",
    "Benchmark",
    "Catalog",
    "Changes",
    "Checkpoint",
    "Claim",
    "Claims",
    "KVCache",
    "Layer",
    "Parameters",
    "Published",
    "Source",
    "changes_since_gemma3",
    "configuration",
    "count_parameters",
    "get_architecture",
    "kv_cache_bytes",
    "kv_cache_slope",
    "kv_caches",
    "matrix_parameters",
    "memory_claims",
    "parameter_claims",
    "weight_bytes",
]

__getattr__, __dir__ = lazy_names(globals())

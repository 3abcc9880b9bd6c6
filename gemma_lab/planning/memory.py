"""Memory of a model by part, what fits, and the longest context and largest batch that do. No torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .devices import Hardware
    from .models import ModelShape
    from .quantization import Quantization
    from .runtimes import Runtime

GIB = 2**30

_WEIGHTS = {
    "embedding": "token embedding and output head",
    "head": "output head",
    "ple_table": "per-layer embedding table",
    "attention": "attention weights",
    "dense": "dense feed-forward weights",
    "experts": "expert weights",
    "other": "router, norms, projections",
    "towers": "vision and audio towers",
}
_CACHES = {
    "global": "cache of the global layers",
    "local": "cache of the sliding windows",
    "linear": "states of the linear layers",
}
_ACTIVATIONS, _RUNTIME = "activations of a piece of the prompt", "runtime"
LABELS = {
    **_WEIGHTS,
    **{f"cache_{kind}": label for kind, label in _CACHES.items()},
    "drafter": "drafter",
    "activations": _ACTIVATIONS,
    "overhead": _RUNTIME,
}
"""What each part is called, by its key."""


@dataclass(frozen=True)
class MemoryPart:
    """One part of what a model takes.

    Attributes
    ----------
    key
        Short name: a kind of weights, ``"cache_global"``, ``"activations"``, ….
    label
        What it is.
    bytes
        Its size.
    place
        ``"device"`` or ``"host"`` (the computer's memory beside a GPU).
    formula
        The formula with its numbers.
    source
        Where the formula and its figures come from.
    """

    key: str
    label: str
    bytes: float
    place: str
    formula: str
    source: str

    def to_dict(self) -> dict[str, float | str]:
        """Return the fields as plain data."""
        return {
            "key": self.key,
            "label": self.label,
            "bytes": self.bytes,
            "place": self.place,
            "formula": self.formula,
            "source": self.source,
        }


@dataclass(frozen=True)
class Placement:
    """What lies in the computer's memory instead of the device's.

    Attributes
    ----------
    shares
        Part → share of its bytes on the host.
    """

    shares: Mapping[str, float] = field(default_factory=dict, hash=False)

    def host_share(self, part: str) -> float:
        """Return the share of a part that lies on the host."""
        return self.shares.get(part, 0.0)


@dataclass(frozen=True)
class Setting:
    """Everything that the memory of a model depends on.

    Attributes
    ----------
    shape, weights, hardware, runtime
        What runs where.
    context
        Tokens that the cache is allocated for, of each sequence.
    batch
        Sequences.
    cache_bits
        Bits of a cached number.
    images
        Soft tokens of pictures that are processed at once; 0 leaves the towers out where the runtime can.
    drafter_bits
        Bits of a weight of the drafter; None without one.
    placement
        What lies on the host.
    """

    shape: ModelShape
    weights: Quantization
    hardware: Hardware
    runtime: Runtime
    context: int
    batch: int = 1
    cache_bits: float = 16.0
    images: int = 0
    drafter_bits: float | None = None
    placement: Placement = field(default_factory=Placement, hash=False)


def memory_parts(setting: Setting) -> tuple[MemoryPart, ...]:
    """Return the parts, weights first, in the order in which views stack them."""
    *weights, overhead = _constant_parts(setting)
    return (*weights, *_cache_parts(setting), _activations(setting), overhead)


def total_bytes(parts: tuple[MemoryPart, ...], place: str = "device") -> float:
    """Return the sum of the parts in one place."""
    return sum(part.bytes for part in parts if part.place == place)


def fits(setting: Setting) -> bool | None:
    """Return whether it fits on the device; None if the device's memory is unknown."""
    usable = setting.hardware.usable_bytes
    return None if usable is None else total_bytes(memory_parts(setting)) <= usable


def longest_context(setting: Setting) -> int | None:
    """Return the longest context in tokens that fits, up to the model's own; 0 if none does.

    None if the device's memory is unknown.
    """
    return _largest(setting, "context", setting.shape.context)


def largest_batch(setting: Setting, *, most: int = 4096) -> int | None:
    """Return the most sequences of the setting's context that fit; 0 if not even one does."""
    return _largest(setting, "batch", most)


def cache_formula(setting: Setting, kind: str) -> str:
    """Return the formula of one kind of cache with its numbers."""
    lines = []
    for group in setting.shape.cache:
        kept = group.stored
        if kept.kind != kind:
            continue
        if kind == "linear":
            lines.append(
                f"{kept.count} layers × ({kept.state:,} numbers × {kept.state_bytes} B"
                f" + {kept.convolution:,} × 2 B)"
            )
            continue
        cells = setting.context if kept.window is None else _window_cells(setting, kept.window)
        lines.append(
            f"{kept.count} layers × 2 × {kept.kv_heads} heads × {kept.head_dim} × {cells:,.0f} tokens"
            f" × {setting.cache_bits / 8:g} B"
        )
    sequences = f" × {setting.batch} sequences" if setting.batch > 1 else ""
    return " + ".join(lines) + sequences


def _largest(setting: Setting, name: str, most: int) -> int | None:
    usable = setting.hardware.usable_bytes
    if usable is None:
        return None
    available = usable - sum(part.bytes for part in _constant_parts(setting) if part.place == "device")

    def fitting(value: int) -> bool:
        changed = replace(setting, context=value) if name == "context" else replace(setting, batch=value)
        return sum(_cache_bytes(changed).values()) + _activation_bytes(changed) <= available

    if fitting(most):
        return most
    low, high = 0, most
    while low < high - 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fitting(middle) else (low, middle)
    return low


def _constant_parts(setting: Setting) -> tuple[MemoryPart, ...]:
    """Return the parts that depend neither on the context nor on the batch."""
    return (*_weight_parts(setting), _overhead(setting))


def _weight_parts(setting: Setting) -> tuple[MemoryPart, ...]:
    shape, weights = setting.shape, setting.weights
    parts = []
    for key, size in weights.weight_bytes(shape).items():
        if (
            key == "towers"
            and not setting.images
            and setting.runtime.family in ("llama.cpp", "MLX", "LiteRT-LM")
        ):
            continue  # a separate file there, loaded only on demand
        count = shape.parts[key]
        formula = f"{count:,} weights × {8 * size / count:.4g} bits"
        share = setting.placement.host_share(key)
        if key == "ple_table" and setting.runtime.ple_on_host and "ple_table" not in setting.placement.shares:
            share = 1.0
        if setting.hardware.unified:
            share = 0.0
        for place, part in (("device", 1 - share), ("host", share)):
            if part > 0:
                of = "" if part == 1 else f" × {part:.0%}"
                parts.append(MemoryPart(key, _WEIGHTS[key], size * part, place, formula + of, weights.source))
    if setting.drafter_bits is not None and shape.drafter is not None:
        count = shape.drafter.parameters
        parts.append(
            MemoryPart(
                "drafter",
                "drafter",
                count * setting.drafter_bits / 8,
                "device",
                f"{count:,} weights × {setting.drafter_bits:g} bits; it reads the model's own cache",
                "published parameter counts" if shape.drafter.exact else "published, rounded parameter count",
            )
        )
    return tuple(parts)


def _cache_bytes(setting: Setting) -> dict[str, float]:
    window = next((group.stored.window for group in setting.shape.cache if group.stored.window), 0)
    return setting.shape.stored_cache_bytes(
        setting.context,
        batch=setting.batch,
        value_bytes=setting.cache_bits / 8,
        window_slack=_window_cells(setting, window) - window if window else 0.0,
    )


def _cache_parts(setting: Setting) -> tuple[MemoryPart, ...]:
    sizes = _cache_bytes(setting)
    source = f"layers that own a cache, by the configuration; {setting.runtime.source}"
    return tuple(
        MemoryPart(
            f"cache_{kind}", _CACHES[kind], sizes[kind], "device", cache_formula(setting, kind), source
        )
        for kind in _CACHES
        if kind in sizes
    )


def _window_cells(setting: Setting, window: int) -> float:
    """Return the tokens that a window's cache holds for one sequence, on average."""
    if not setting.runtime.window_padding:
        return float(min(window, setting.context))
    cells = window + setting.runtime.window_slack(window, setting.batch)
    return min(cells, float(setting.context))


def _activation_bytes(setting: Setting) -> float:
    """Return what a piece of a prompt takes while it is processed.

    The logits of the piece (llama.cpp reserves them for all its tokens), the mask over the context, and the
    widest activations.
    """
    shape, runtime = setting.shape, setting.runtime
    piece = min(runtime.piece, max(1, setting.context))
    numbers = float(piece * _widths(shape))
    pictures = setting.images * 9 * 1152 * 4 * 4
    if runtime.family == "llama.cpp":
        logits = piece * shape.vocabulary * runtime.logits_bytes
        return 4 * numbers + logits + piece * setting.context * setting.batch * 2 + pictures
    # a few copies of the widest activation, and the last token's logits of each sequence
    return 3 * 2 * numbers + setting.batch * shape.vocabulary * 4 + pictures


def _widths(shape: ModelShape) -> int:
    return 2 * shape.hidden + shape.widest + 3 * shape.top_k * shape.expert_width + shape.per_layer_width


def _activations(setting: Setting) -> MemoryPart:
    shape, runtime = setting.shape, setting.runtime
    piece = min(runtime.piece, max(1, setting.context))
    if runtime.family == "llama.cpp":
        formula = (
            f"{piece} tokens × ({_widths(shape):,} numbers × 4 B + {shape.vocabulary:,} logits × 4 B"
            f" + mask {setting.context * setting.batch:,} × 2 B)"
        )
    else:
        formula = f"3 × {piece} tokens × {_widths(shape):,} numbers × 2 B + logits of {setting.batch} tokens"
    if setting.images:
        formula += f" + {setting.images} soft tokens of pictures × 9 patches × 4 × 1,152 × 4 B"
    return MemoryPart(
        "activations", _ACTIVATIONS, _activation_bytes(setting), "device", formula, runtime.source
    )


def _overhead(setting: Setting) -> MemoryPart:
    size = setting.runtime.overhead_gib[setting.hardware.kind] * GIB * setting.hardware.devices
    return MemoryPart(
        "overhead",
        _RUNTIME,
        size,
        "device",
        f"{setting.runtime.overhead_gib[setting.hardware.kind]:g} GiB × {setting.hardware.devices}",
        f"{setting.runtime.name} on {setting.hardware.kind}: context, graphs and workspaces; an estimate",
    )


def as_mapping(parts: tuple[MemoryPart, ...]) -> Mapping[str, float]:
    """Return key → bytes on the device."""
    sums: dict[str, float] = {}
    for part in parts:
        if part.place == "device":
            sums[part.key] = sums.get(part.key, 0.0) + part.bytes
    return MappingProxyType(sums)

"""Cards, chips and computers: memory, bandwidth, compute, price and power. No torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from types import MappingProxyType
from typing import Any

from ..checks import real_number, short_repr, whole_number
from ..errors import LabError
from .facts import normalized, number, read_rows, unknown

GIB = 2**30

_RESERVED_GIB = 0.6
"""What the driver and a context take of a GPU's memory: a 16 GiB card leaves 15,751 of 16,384 MiB."""
_UNIFIED_SHARE = {"metal": 0.75, "cuda": 0.93, "rocm": 0.9, "cpu": 0.85, "sycl": 0.9}
"""Share of shared memory that a model may fill: macOS' wired limit; elsewhere what a system leaves."""
_KINDS = ("cuda", "rocm", "metal", "sycl", "cpu")
_FIELDS = (
    "name",
    "kind",
    "memory_gib",
    "free_gib",
    "bandwidth_gb_s",
    "tensor_tflops",
    "price_usd",
    "power_w",
    "unified",
    "devices",
    "host_bandwidth_gb_s",
    "host_memory_gib",
    "link_gb_s",
)
_UNKNOWABLE = ("memory_gib", "bandwidth_gb_s", "tensor_tflops", "price_usd", "power_w")
"""Fields for which None in a mapping means unknown, also where a named card has a figure."""


@dataclass(frozen=True)
class Hardware:
    """What a model runs on.

    Attributes
    ----------
    name
        E.g. ``"RTX 5060 Ti 16GB"``.
    kind
        ``"cuda"``, ``"rocm"``, ``"metal"``, ``"sycl"`` or ``"cpu"``: which constants apply.
    memory_gib
        Memory of one device, GiB; None if unknown.
    bandwidth_gb_s
        Memory bandwidth of one device, 10⁹ bytes a second; None if unknown.
    tensor_tflops
        Dense matrix rate in 16 bits, 10¹² operations a second; None if unknown.
    price_usd, power_w
        Price when new, and power under load; None if unknown.
    unified
        Whether the memory is shared with the processor.
    devices
        Number of devices.
    free_gib
        Memory that a model may fill on one device, if measured; None computes it (see `usable_bytes`).
    host_memory_gib, host_bandwidth_gb_s
        The computer's own memory and its bandwidth, for what spills out of the device; None if unknown.
    link_gb_s
        Bandwidth between device and computer (PCIe).
    kind_assumed
        Whether the kind was not given and CUDA was assumed; predictions then have a wider interval.
    source, note
        Where the figures come from, and what else to know.
    """

    name: str
    kind: str
    memory_gib: float | None
    bandwidth_gb_s: float | None
    tensor_tflops: float | None = None
    price_usd: float | None = None
    power_w: float | None = None
    unified: bool = False
    devices: int = 1
    free_gib: float | None = None
    host_memory_gib: float | None = None
    host_bandwidth_gb_s: float | None = None
    link_gb_s: float | None = None
    kind_assumed: bool = False
    source: str = ""
    note: str = ""

    def __repr__(self) -> str:
        memory = "unknown memory" if self.memory_gib is None else f"{self.memory_gib:g} GiB"
        speed = "unknown bandwidth" if self.bandwidth_gb_s is None else f"{self.bandwidth_gb_s:g} GB/s"
        return f"Hardware({self.label}: {memory}, {speed})"

    @property
    def label(self) -> str:
        """The name, with the number of devices."""
        return f"{self.devices}× {self.name}" if self.devices > 1 else self.name

    @property
    def usable_bytes(self) -> float | None:
        """Bytes that a model may fill, all devices together; None if the memory is unknown.

        `free_gib` where given; else the memory less 0.6 GiB for driver and context, or the share of unified
        memory that the system leaves.
        """
        if self.free_gib is not None:
            return self.free_gib * GIB * self.devices
        if self.memory_gib is None:
            return None
        if self.unified:
            return self.memory_gib * GIB * _UNIFIED_SHARE[self.kind] * self.devices
        return max(0.0, self.memory_gib - _RESERVED_GIB) * GIB * self.devices


def find_hardware(hardware: str | Mapping[str, Any] | Hardware) -> Hardware:
    """Return hardware by name, or made from a mapping.

    Parameters
    ----------
    hardware
        A name (``"RTX 3090"``, ``"2x RTX 5060 Ti"``, ``"M4 Max"``), or a mapping with any of ``name``,
        ``kind``, ``memory_gib``, ``free_gib``, ``bandwidth_gb_s``, ``tensor_tflops``, ``price_usd``,
        ``power_w``, ``unified``, ``devices``, ``host_memory_gib``, ``host_bandwidth_gb_s``, ``link_gb_s``.
        What is left out is unknown; a mapping with a known ``name`` takes the rest from it. Without a
        ``kind``, CUDA is assumed and intervals are wider.

    Raises
    ------
    LabError
        If the name or a field is not known, or a number is not positive. A new name needs at least memory or
        bandwidth beside it.
    """
    if isinstance(hardware, Hardware):
        return hardware
    if isinstance(hardware, str):
        return _named(hardware)
    if not isinstance(hardware, Mapping):
        raise LabError(
            f"Hardware is a name or a mapping, not {type(hardware).__name__}.",
            hint='E.g. "RTX 3090", or {"memory_gib": 16, "bandwidth_gb_s": 448}.',
        )
    return _described(dict(hardware))


def hardware_names() -> tuple[str, ...]:
    """Return the names of the known hardware."""
    return tuple(known_hardware())


@cache
def known_hardware() -> Mapping[str, Hardware]:
    """Return the shipped hardware by name."""
    return MappingProxyType({row["name"]: _read(row) for row in read_rows("hardware.csv")})


def _named(name: str) -> Hardware:
    devices, stem = _devices(name)
    found = _aliases().get(normalized(stem)) or _aliases().get(_bare(stem))
    if found is None:
        raise unknown("hardware", name, known_hardware(), hint="Any other hardware is taken as a mapping.")
    chosen = known_hardware()[found]
    return replace(chosen, devices=devices) if devices > 1 else chosen


def _described(fields: dict[str, Any]) -> Hardware:
    wrong = [name for name in fields if name not in _FIELDS]
    if wrong:
        raise unknown("field of hardware", wrong[0], _FIELDS)
    fields = {key: value for key, value in fields.items() if value is not None or key in _UNKNOWABLE}
    known = _known(fields)
    for key in fields.keys() - {"name", "kind", "unified", "devices"}:
        if fields[key] is not None:
            hint = "Leave it out if unknown."
            fields[key] = real_number(f"{key} of hardware", fields[key], minimum=1e-3, maximum=1e9, hint=hint)
    if "devices" in fields:
        fields["devices"] = whole_number("devices", fields["devices"], minimum=1, maximum=1024)
    if not isinstance(fields.get("unified", False), bool):
        raise LabError(f"unified is True or False, not {short_repr(fields['unified'])}.")
    if fields.get("kind", "cuda") not in _KINDS:
        raise unknown("kind of hardware", fields["kind"], _KINDS)
    if known is not None:
        return replace(known, **{**fields, "name": known.name})
    kind = fields.get("kind", "cuda")
    defaults: dict[str, Any] = {
        "name": "your hardware",
        "kind": kind,
        "memory_gib": None,
        "bandwidth_gb_s": None,
        "unified": kind in ("metal", "cpu"),
        "kind_assumed": "kind" not in fields,
        "source": "given",
    }
    return Hardware(**(defaults | fields))


def _known(fields: Mapping[str, Any]) -> Hardware | None:
    """Return the shipped hardware that a mapping names; None for a new name with figures of its own."""
    name = fields.get("name")
    if name is None:
        return None
    if not isinstance(name, str):
        raise LabError(f"name of hardware is text, not {short_repr(name)}.", hint='E.g. "RTX 3090".')
    try:
        return _named(name)
    except LabError:
        if fields.get("memory_gib") is None and fields.get("bandwidth_gb_s") is None:
            raise
        return None


def _read(row: Mapping[str, str]) -> Hardware:
    return Hardware(
        name=row["name"],
        kind=row["kind"],
        memory_gib=number(row["memory_gib"]),
        bandwidth_gb_s=number(row["bandwidth_gb_s"]),
        tensor_tflops=number(row["tensor_tflops"]),
        price_usd=number(row["price_usd"]),
        power_w=number(row["power_w"]),
        unified=row["unified"] == "1",
        source=row["source"],
        note=row["note"],
    )


@cache
def _aliases() -> Mapping[str, str]:
    names: dict[str, str] = {}
    for row in read_rows("hardware.csv"):
        for alias in (row["name"], _bare(row["name"]), *row["aliases"].split("|")):
            if alias:
                names.setdefault(normalized(alias), row["name"])
    return MappingProxyType(names)


def _devices(name: str) -> tuple[int, str]:
    """Split ``"2x RTX 3090"`` into 2 and the name."""
    head, _, rest = name.strip().partition(" ")
    count = head.rstrip("xX×*")
    if rest and count.isdigit() and count != head and 1 <= int(count) <= 64:
        return int(count), rest
    return 1, name.strip()


def _bare(name: str) -> str:
    """Return a normalized name without maker and memory: ``"NVIDIA RTX 3090 24GB"`` → ``"rtx3090"``."""
    words = [
        word
        for word in name.lower().replace("(", " ").replace(")", " ").split()
        if word not in ("nvidia", "geforce", "amd", "apple", "intel", "tesla", "instinct")
        and not (word.endswith("gb") and word[:-2].isdigit())
    ]
    return normalized(" ".join(words))

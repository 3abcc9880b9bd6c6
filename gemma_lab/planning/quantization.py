"""Bits of each kind of weight, and of a cached number, under a named quantisation. No torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from ..checks import real_number
from ..errors import LabError
from .facts import normalized, read_facts, unknown

if TYPE_CHECKING:
    from .models import ModelShape

_BLOCK = 256
"""Weights of a block of llama.cpp's K-quants; a row that it does not divide falls back to another type."""


@dataclass(frozen=True)
class Quantization:
    """How the weights of a checkpoint are packed.

    Attributes
    ----------
    name
        E.g. ``"Q4_K_M"``.
    bits
        Bits of a weight, by `gemma_lab.planning.models.PARTS`.
    fallback_bits
        Bits of the down projections whose rows are no multiple of 256 (26B-A4B: 704 and 2,112); None where
        the format has no such rule.
    runtimes
        Names of the runtimes that read it.
    source
        Where the bits come from.
    note
        What else to know.
    file_bytes
        Size of the file that it was scaled to; None where the named bits hold.
    """

    name: str
    bits: Mapping[str, float] = field(hash=False)
    fallback_bits: float | None
    runtimes: tuple[str, ...]
    source: str
    note: str = ""
    file_bytes: float | None = None

    def weight_bytes(self, shape: ModelShape) -> dict[str, float]:
        """Return the bytes of each part of `shape` that has weights."""
        sizes = {}
        for part, number in shape.parts.items():
            if number:
                sizes[part] = number * self._part_bits(shape, part) / 8
        if self.file_bytes is not None:
            text = sum(size for part, size in sizes.items() if part != "towers")
            sizes = {
                part: size * (1.0 if part == "towers" else self.file_bytes / text)
                for part, size in sizes.items()
            }
        return sizes

    def mean_bits(self, shape: ModelShape) -> float:
        """Return the mean bits of a weight of the decoder."""
        sizes = self.weight_bytes(shape)
        return 8 * sum(size for part, size in sizes.items() if part != "towers") / shape.text

    def _part_bits(self, shape: ModelShape, part: str) -> float:
        bits = self.bits[part]
        width = {"experts": shape.expert_width, "dense": shape.widest}.get(part, 0)
        if self.fallback_bits is not None and width % _BLOCK:
            return (2 * bits + self.fallback_bits) / 3  # gate and up keep their type, down does not
        return bits


def quantization(name: str | float | Quantization, *, file_bytes: float | None = None) -> Quantization:
    """Return a quantisation by name, or one that fills a file of the given size.

    Parameters
    ----------
    name
        E.g. ``"Q4_K_M"``, ``"bf16"``, ``"w4a16"``; or a file's size in bytes, towers not counted: then every
        weight has the same bits.
    file_bytes
        Size of the decoder's file, to which the named bits are scaled.

    Raises
    ------
    LabError
        If the name is not known, or a size is not positive.
    """
    if isinstance(name, Quantization):
        found = name
    elif isinstance(name, int | float) and not isinstance(name, bool):
        return _of_file(name)
    elif isinstance(name, str):
        known = known_quantizations()
        key = _aliases().get(normalized(name))
        if key is None:
            raise unknown("quantisation", name, known, hint="A file's size in bytes is taken, too.")
        found = known[key]
    else:
        raise LabError(
            f"A quantisation is a name or bytes, not {type(name).__name__}.", hint='E.g. "Q4_K_M".'
        )
    if file_bytes is None:
        return found
    return replace(found, file_bytes=_file_size(file_bytes))


def quantization_names(runtime: str = "") -> tuple[str, ...]:
    """Return the known quantisations, or those that one runtime reads.

    Raises
    ------
    LabError
        If no known quantisation names the runtime.
    """
    known = known_quantizations()
    found = tuple(name for name, each in known.items() if not runtime or runtime in each.runtimes)
    if not found:
        names = sorted({name for each in known.values() for name in each.runtimes})
        raise unknown("runtime", runtime, names)
    return found


def cache_bits(name: str, runtime: str) -> float:
    """Return the bits of a cached number, ``"f16"`` or a quantised type, checked for a runtime.

    Raises
    ------
    LabError
        If the type is not known, or the runtime lacks it.
    """
    rows = read_facts("quantizations.json")["caches"]
    if not isinstance(name, str):
        raise LabError(f"A cache type is a name, not {type(name).__name__}.", hint='E.g. "q8_0".')
    for row in rows:
        if normalized(name) in {normalized(each) for each in (row["name"], *row["aliases"])}:
            if runtime and runtime not in row["runtimes"]:
                usable = [each["name"] for each in rows if runtime in each["runtimes"]]
                raise LabError(
                    f"{runtime} has no key-value cache of type {name!r}.",
                    hint=f"It has {', '.join(usable)}.",
                )
            return float(row["bits"])
    raise unknown("cache type", name, [row["name"] for row in rows])


def _of_file(size: float) -> Quantization:
    size = _file_size(size)
    uniform = dict.fromkeys(
        ("embedding", "head", "ple_table", "attention", "dense", "experts", "other", "towers"), 16.0
    )
    return Quantization(
        name=f"file of {size / 1e9:.4g} GB",
        bits=MappingProxyType(uniform),
        fallback_bits=None,
        runtimes=(),
        source="the file's size, the same bits for every weight",
        file_bytes=size,
    )


def _file_size(size: float) -> float:
    return real_number("file size", size, minimum=1e5, maximum=1e13, hint="Give the size in bytes: 15.2e9.")


@cache
def known_quantizations() -> Mapping[str, Quantization]:
    """Return the shipped quantisations by name."""
    return MappingProxyType({row["name"]: _read(row) for row in read_facts("quantizations.json")["weights"]})


def _read(row: Mapping[str, Any]) -> Quantization:
    return Quantization(
        name=row["name"],
        bits=MappingProxyType(row["bits"]),
        fallback_bits=row["fallback_bits"],
        runtimes=tuple(row["runtimes"]),
        source=row["source"],
        note=row["note"],
    )


@cache
def _aliases() -> Mapping[str, str]:
    rows = read_facts("quantizations.json")["weights"]
    return MappingProxyType(
        {normalized(alias): row["name"] for row in rows for alias in (row["name"], *row["aliases"])}
    )

"""Bits of each kind of weight, and of a cached number, under a named quantisation. No torch."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from ..checks import real_number, short_repr, whole_number
from ..errors import LabError
from .facts import normalized, read_facts, unknown

if TYPE_CHECKING:
    from .models import ModelShape

_BLOCK = 256
"""Weights of a block of llama.cpp's K-quants; a row that it does not divide falls back to another type."""


_MATRICES = {"attention": "attention", "mlp": "dense", "experts": "experts"}
"""Parts that `integer_weights` packs, as `gemma_lab.family` calls them → as plans call them."""

_INTEGERS = re.compile(r"int([48])-?g(\d+)(?:-?e([48]))?")
"""What `Quantization.name` of `integer_weights` looks like."""


@dataclass(frozen=True)
class IntegerWeights:
    """Weights as integers in groups that share a 16-bit scale.

    Attributes
    ----------
    bits
        Bits of a weight of the decoder's matrices: 8 or 4.
    group_size
        Weights of a row that share a scale.
    embeddings
        Bits of a weight of the embedding tables; 16 leaves them as they are.
    keep
        Parts that are left as they are, of ``"attention"``, ``"mlp"`` and ``"experts"``.
    """

    bits: int
    group_size: int
    embeddings: int = 16
    keep: tuple[str, ...] = ()


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
    integers
        How this package packs the weights when it loads a model (`integer_weights`); None for other programs.
    """

    name: str
    bits: Mapping[str, float] = field(hash=False)
    fallback_bits: float | None
    runtimes: tuple[str, ...]
    source: str
    note: str = ""
    file_bytes: float | None = None
    integers: IntegerWeights | None = None

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


def integer_weights(
    bits: int = 4, *, group_size: int = 32, embeddings: int = 16, keep: Iterable[str] = ()
) -> Quantization:
    """Return int8 or int4 with a group size, for `gemma_lab.load` and `gemma_lab.plan`.

    ``"int8"`` and ``"int4"`` in `gemma_lab.load` are those with groups of 32, which `integer_weights` calls
    ``"int8-g32"`` and ``"int4-g32"``.

    Parameters
    ----------
    bits
        Bits of a weight of attention, feed-forward layers and experts: 8 or 4.
    group_size
        Weights of a row that share a 16-bit scale, 16 to 1,024: the fewer, the nearer to the weights, and the
        more bytes. Rows of fewer weights have one scale.
    embeddings
        Bits of a weight of the token embedding (and output head) and of the per-layer embedding table: 16, 8
        or 4. Router, norms and towers always keep 16 bits.
    keep
        Parts to leave in 16 bits: ``"attention"``, ``"mlp"`` (the dense feed-forward layers), ``"experts"``.

    Raises
    ------
    LabError
        If a number is none of these.

    Examples
    --------
    >>> gl.load("e2b-it", quantization=gl.planning.integer_weights(4, group_size=64, embeddings=8))
    """
    for label, value, known in (("bits", bits, (8, 4)), ("embeddings", embeddings, (16, 8, 4))):
        if isinstance(value, bool) or value not in known:
            raise LabError(
                f"{label}={value!r}: integer weights of that many bits do not exist here.",
                hint=f"Choose {', '.join(map(str, known[:-1]))} or {known[-1]}.",
            )
    group_size = whole_number("group_size", group_size, minimum=16, maximum=1024)
    kept = _kept_parts(keep)
    scale = 16 / group_size
    table = embeddings + (scale if embeddings < 16 else 0)
    matrix = bits + scale
    tables = f"-e{embeddings}" if embeddings < 16 else ""
    return Quantization(
        name=f"int{bits}-g{group_size}{tables}" + "".join(f"-no-{part}" for part in kept),
        bits=MappingProxyType(
            {"embedding": table, "head": table, "ple_table": table}
            | {planned: 16.0 if part in kept else matrix for part, planned in _MATRICES.items()}
            | {"other": 16.0, "towers": 16.0}
        ),
        fallback_bits=None,
        runtimes=("transformers",),
        source=f"{bits} bits and a 16-bit scale per {group_size} weights of a row",
        note="" if "experts" in kept else "packs fused experts, too",
        integers=IntegerWeights(bits, group_size, embeddings, kept),
    )


def _kept_parts(keep: Iterable[str]) -> tuple[str, ...]:
    wanted = (keep,) if isinstance(keep, str) else tuple(keep) if isinstance(keep, Iterable) else (keep,)
    for part in wanted:
        if part not in _MATRICES:
            raise LabError(
                f"keep={short_repr(keep)}: {short_repr(part)} is not a part that integer weights pack.",
                hint=f"Choose of {', '.join(_MATRICES)}; the others are left as they are anyway.",
            )
    return tuple(part for part in _MATRICES if part in wanted)


def quantization(
    name: str | float | Quantization, *, runtime: str = "", file_bytes: float | None = None
) -> Quantization:
    """Return a quantisation by name, or one that fills a file of the given size.

    Parameters
    ----------
    name
        E.g. ``"Q4_K_M"``, ``"bf16"``, ``"w4a16"``, ``"int4-g64"`` (`integer_weights`); or a file's size in
        bytes, towers not counted: then every weight has the same bits.
    runtime
        Where two share a short name, e.g. ``"int4"``, that which this runtime reads is meant.
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
        found = _by_name(name, runtime)
    else:
        raise LabError(
            f"A quantisation is a name or bytes, not {type(name).__name__}.", hint='E.g. "Q4_K_M".'
        )
    if file_bytes is None:
        return found
    return replace(found, file_bytes=_file_size(file_bytes))


def _by_name(name: str, runtime: str) -> Quantization:
    known = known_quantizations()
    keys = _aliases().get(normalized(name), ())
    if keys:
        return known[next((key for key in keys if runtime in known[key].runtimes), keys[0])]
    integers = _INTEGERS.fullmatch(name.strip().lower())
    if integers is not None:
        bits, group_size, embeddings = integers.groups()
        return integer_weights(int(bits), group_size=int(group_size), embeddings=int(embeddings or 16))
    raise unknown("quantisation", name, known, hint="A file's size in bytes is taken, too.")


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
        integers=IntegerWeights(**row["integers"]) if "integers" in row else None,
    )


@cache
def _aliases() -> Mapping[str, tuple[str, ...]]:
    found: dict[str, tuple[str, ...]] = {}
    for row in read_facts("quantizations.json")["weights"]:
        for alias in (row["name"], *row["aliases"]):
            found[normalized(alias)] = (*found.get(normalized(alias), ()), row["name"])
    return MappingProxyType(found)

"""Quantisation while a 16-bit checkpoint is loaded: the methods by name, and what each needs and packs."""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import prod
from typing import Any

from ...checks import short_repr, type_name
from ...errors import LabError, MissingExtra, TooOld
from ...planning.quantization import Quantization, known_quantizations, quantization
from .integers import WORKING_BYTES
from .parts import part_of

RUNTIME = "transformers"
_CONVERSION = 5  # bytes a weight while it is dequantised: its code, and on a CPU a float32
_PACKED = ("attention", "mlp", "experts")
_TABLES = ("embedding", "ple_table", "head")
#: Modules that the libraries leave in 16 bits here: a router decides by small differences, and the towers and
#: the per-layer projections are a few per cent of the weights.
_KEPT = (
    "lm_head",
    "router",
    "vision_tower",
    "vision_embedder",
    "embed_vision",
    "audio_tower",
    "embed_audio",
    "per_layer_model_projection",
    "per_layer_input_gate",
    "per_layer_projection",
)
#: Part of `gemma_lab.family.parameters.PARAMETER_GROUPS` → part of `gemma_lab.planning.models.PARTS`.
PLANNED = {
    "embedding": "embedding",
    "ple_table": "ple_table",
    "ple": "other",
    "attention": "attention",
    "mlp": "dense",
    "experts": "experts",
    "router": "other",
    "norms": "other",
    "head": "head",
    "vision": "towers",
    "vision_projector": "towers",
    "audio": "towers",
    "audio_projector": "towers",
}
_IN_A_CHECKPOINT = {
    "w4a16": "compressed-tensors: load a checkpoint that ends in -w4a16-ct",
    "mobile": "Google's mobile format: load a checkpoint that ends in -mobile-ct",
    "fp8": "packed by whoever published it, for vLLM",
    "nvfp4": "packed by whoever published it, for vLLM",
    "int8": "packed by whoever published it, for vLLM",
}


@dataclass(frozen=True)
class _Library:
    """What a method needs: its package, the oldest release that transformers takes, and kinds of devices."""

    package: str
    minimum: str
    extra: str
    devices: tuple[str, ...]
    config: Callable[[Any], Any]


@dataclass(frozen=True)
class LoadMethod:
    """A method that packs the weights of a 16-bit checkpoint while they are read.

    Attributes
    ----------
    quantization
        The same object that `gemma_lab.plan` takes: bits of a weight by part.
    """

    quantization: Quantization

    @property
    def name(self) -> str:
        """E.g. ``"int4-g32"`` or ``"nf4"``."""
        return self.quantization.name

    def packs(self, name: str, dimensions: int) -> bool:
        """Return whether a weight is packed, by its name in the checkpoint and its number of dimensions."""
        part = part_of(name)
        integers = self.quantization.integers
        if part in _TABLES:
            return integers is not None and integers.embeddings < 16
        if (
            part not in _PACKED
            or (integers and part in integers.keep)
            or not name.endswith((".weight", "gate_up_proj", "down_proj"))
        ):
            return False
        return dimensions == 2 or (dimensions == 3 and part == "experts" and integers is not None)

    def format_of(self, part: str) -> str:
        """Return the format of a packed weight of a part, as `WeightBits` names it after loading."""
        integers = self.quantization.integers
        if integers is None:
            return "nf4" if self.name == "nf4" else "int8"
        return f"int{integers.embeddings if part in _TABLES else integers.bits}"

    def held_bytes(self, name: str, shape: tuple[int, ...], item: int) -> float:
        """Return the bytes of a weight as it is held; `item` is the bytes of a number that is not packed."""
        elements = prod(shape)
        if not self.packs(name, len(shape)):
            return float(elements * item)
        integers = self.quantization.integers
        if integers is None:
            return elements * self.quantization.bits[PLANNED[part_of(name)]] / 8
        bits = integers.embeddings if part_of(name) in _TABLES else integers.bits
        columns = shape[-1]
        size = min(integers.group_size, columns)
        return elements // columns * (-(-columns * bits // 8) + 2 * -(-columns // size))

    def call_bytes(self, name: str, shape: tuple[int, ...], item: int) -> int:
        """Return the bytes that exist while a packed weight is used: dequantised, with what makes it so."""
        if not self.packs(name, len(shape)) or self.quantization.integers is None:
            return 0
        once = max(prod(shape[1:]) * item, WORKING_BYTES) if len(shape) == 3 else prod(shape) * item
        once = min(once, prod(shape) * item)
        return once + once * _CONVERSION // item

    def part_bytes(self, counts: Mapping[str, int], item: int) -> dict[str, float]:
        """Return the bytes of each part as it is held, from numbers of weights by part.

        Exact where rows are whole groups, as those of the published sizes are.
        """
        sizes = {}
        for part, count in counts.items():
            bits = self.quantization.bits[PLANNED[part]]
            sizes[part] = count * (item if bits == 16 else bits / 8)
        return sizes

    def config(self, dtype: Any) -> Any:
        """Return the configuration that ``from_pretrained`` takes; `dtype` is that of the computation."""
        integers = self.quantization.integers
        if integers is not None:
            from .integer_quantizer import IntegerConfig

            return IntegerConfig(integers.bits, integers.group_size, integers.embeddings, integers.keep)
        return _LIBRARIES[self.name].config(dtype)

    def require(self, kind: str) -> None:
        """Raise unless what the method needs is installed and runs on a kind of device.

        Parameters
        ----------
        kind
            ``"cpu"``, ``"cuda"`` or ``"mps"``.

        Raises
        ------
        MissingExtra, TooOld
            If its library is not installed, or too old for transformers.
        LabError
            If it does not run on the device.
        """
        if self.quantization.integers is not None:
            return
        library = _LIBRARIES[self.name]
        require_package(library.package, library.minimum, library.extra, what=f"quantization={self.name!r}")
        if kind not in library.devices:
            raise LabError(
                f"{self.name} ({library.package}) runs on {' and '.join(library.devices)}, not on {kind}.",
                hint='quantization="int8" and "int4" run on every device.',
            )

    def check_shapes(self, shapes: Mapping[str, tuple[int, ...]], device: str) -> None:
        """Raise `LabError` if the method's kernels cannot multiply with a weight of some shape."""
        if self.name != "nf4" or not device.startswith("cpu"):
            return
        functional: Any = importlib.import_module("bitsandbytes.functional")
        packed = {name: shape for name, shape in shapes.items() if self.packs(name, len(shape))}
        odd = {name: shape for name, shape in packed.items() if shape[0] % 32 or shape[1] % 64}
        if odd and functional.has_avx512bf16():
            name, shape = next(iter(odd.items()))
            raise LabError(
                f"bitsandbytes' 4-bit kernel for this processor (AVX512-BF16) takes multiples of 32 rows and "
                f"of 64 columns; {len(odd)} weights have other numbers: {name} has {shape[0]} × {shape[1]}.",
                hint='quantization="int4" takes every shape.',
            )


def load_method(wanted: Any) -> LoadMethod | None:
    """Return the method that `gemma_lab.load` was asked for; None for None.

    Parameters
    ----------
    wanted
        A name, or a `gemma_lab.planning.Quantization` of `gemma_lab.planning.integer_weights`.

    Raises
    ------
    LabError
        If no method has this name, or if it is a format that only a checkpoint can have.
    """
    if wanted is None:
        return None
    if not isinstance(wanted, str | Quantization):
        raise LabError(
            f"quantization={short_repr(wanted)}: a quantisation is a name, not {type_name(wanted)}.",
            hint=f"One of {_listed()}; or gl.planning.integer_weights(bits, group_size=…).",
        )
    try:
        found = quantization(wanted, runtime=RUNTIME)
    except LabError as error:
        raise LabError(error.what, hint=f"While a 16-bit checkpoint is loaded: {_listed()}.") from error
    if found.integers is not None or found.name in _LIBRARIES:
        return LoadMethod(found)
    if found.name in ("bf16", "fp32"):
        raise LabError(
            f"{found.name} is a dtype, not a quantisation.",
            hint=f'Pass dtype="{"bfloat16" if found.name == "bf16" else "float32"}".',
        )
    if found.name in _IN_A_CHECKPOINT:
        raise LabError(
            f"{found.name} is a format of checkpoints, which loading does not produce "
            f"({_IN_A_CHECKPOINT[found.name]}).",
            hint=f"While a 16-bit checkpoint is loaded: {_listed()}.",
        )
    raise LabError(
        f"quantization={short_repr(wanted)} is {found.name} here, which {', '.join(found.runtimes)} "
        "reads; transformers does not.",
        hint=f"quantization takes {_listed()}.",
    )


def load_method_names() -> tuple[str, ...]:
    """Return the names of the methods that pack a 16-bit checkpoint while it is loaded."""
    known = known_quantizations()
    return tuple(name for name, each in known.items() if each.integers is not None or name in _LIBRARIES)


def require_package(package: str, minimum: str, extra: str, *, what: str) -> None:
    """Raise `MissingExtra` or `TooOld` unless a package is installed in a release or a newer one."""
    from packaging.version import Version

    upgrade = f'pip install --upgrade "gemma_lab[{extra}]"'
    if not is_installed(package):
        raise MissingExtra(f"{what} needs {package}, which is not installed.", hint=upgrade)
    installed = importlib.metadata.version(package)
    if Version(Version(installed).base_version) < Version(minimum):
        raise TooOld(f"{what} needs {package} {minimum} or newer; {installed} is installed.", hint=upgrade)


def is_installed(package: str) -> bool:
    """Return whether a package can be imported, without importing it."""
    return importlib.util.find_spec(package.replace("-", "_")) is not None


def _listed() -> str:
    short = {"int8-g32": '"int8"', "int4-g32": '"int4"'}
    return ", ".join(short.get(name, f'"{name}"') for name in load_method_names())


def _kept() -> list[str]:
    """Return `_KEPT` as patterns that transformers matches from the start of a module's name."""
    return [f".*{name}" for name in _KEPT]


def _bitsandbytes_8(_: Any) -> Any:
    import transformers

    config: Any = transformers.BitsAndBytesConfig
    return config(load_in_8bit=True, llm_int8_skip_modules=_kept())


def _bitsandbytes_4(dtype: Any) -> Any:
    import transformers

    config: Any = transformers.BitsAndBytesConfig
    return config(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_compute_dtype=dtype,
        llm_int8_skip_modules=_kept(),
    )


def _torchao_8(_: Any) -> Any:
    from torchao.quantization import Int8WeightOnlyConfig
    from transformers import TorchAoConfig

    return TorchAoConfig(Int8WeightOnlyConfig(), modules_to_not_convert=_kept())


_LIBRARIES = {
    "nf4": _Library("bitsandbytes", "0.46.1", "quantization", ("cpu", "cuda"), _bitsandbytes_4),
    "bnb-int8": _Library("bitsandbytes", "0.46.1", "quantization", ("cpu", "cuda"), _bitsandbytes_8),
    "torchao-int8": _Library("torchao", "0.15", "torchao", ("cpu", "cuda"), _torchao_8),
}

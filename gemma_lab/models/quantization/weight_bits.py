"""The bits in which each part of a model is really held, counted from the tensors in memory."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from math import prod
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import torch

from ...display import Displayed
from ...family.parameters import PARAMETER_GROUPS
from .layers import SCALES, packed_parameters
from .parts import OTHER, part_of

if TYPE_CHECKING:
    import pandas as pd

    from .methods import LoadMethod


NAMES = PARAMETER_GROUPS | {OTHER: "other weights"}
_EARNED = (4, 8)
_PACKED_BELOW, _LEFT_FROM = 10.0, 15.5  # bits a weight


@dataclass(frozen=True)
class PartBits:
    """One part of a model.

    Attributes
    ----------
    part
        A key of `gemma_lab.family.PARAMETER_GROUPS`.
    weights
        Weights that the part has, however they are stored.
    bytes
        Bytes that it takes, scales and lookup tables of its quantisation included.
    formats
        Format → bytes in it, e.g. ``{"int4": 786432, "scales": 98304}``.
    """

    part: str
    weights: int
    bytes: float
    formats: Mapping[str, float] = field(hash=False)

    @property
    def label(self) -> str:
        """What the part is called."""
        return NAMES[self.part]

    @property
    def bits(self) -> float:
        """Bits of a weight, scales included."""
        return 8 * self.bytes / self.weights if self.weights else float("nan")

    @property
    def format(self) -> str:
        """The formats that hold it, most bytes first; scales belong to what they scale."""
        names = [name for name, _ in sorted(self.formats.items(), key=lambda item: -item[1])]
        return ", ".join(name for name in names if name != "scales") or "–"


@dataclass(frozen=True)
class WeightBits(Displayed):
    """The bits in which each part of a model is held.

    Attributes
    ----------
    name
        The model's name.
    parts
        Each part that has weights, in the order of `gemma_lab.family.PARAMETER_GROUPS`.
    method
        Name of the quantisation; ``""`` without one.
    measured
        True if tensors in memory were counted, False if the figures follow from shapes before loading.
    """

    name: str
    parts: tuple[PartBits, ...]
    method: str = ""
    measured: bool = True

    def __repr__(self) -> str:
        with_method = f", {self.method}" if self.method else ""
        how = "" if self.measured else ", predicted"
        return (
            f"WeightBits({self.name}{with_method}: {self.mean:.1f} bits a weight, "
            f"{self.bytes / 1e9:.3g} GB{how})"
        )

    def __getitem__(self, part: str) -> PartBits:
        """Return one part by its key, e.g. ``bits["experts"]``; KeyError if the model does not have it."""
        for each in self.parts:
            if each.part == part:
                return each
        raise KeyError(part)

    @property
    def weights(self) -> int:
        """Weights in all."""
        return sum(part.weights for part in self.parts)

    @property
    def bytes(self) -> float:
        """Bytes in all."""
        return sum(part.bytes for part in self.parts)

    @property
    def mean(self) -> float:
        """Mean bits over all weights, embeddings and towers included."""
        return 8 * self.bytes / self.weights

    @property
    def summary(self) -> str:
        """The mean in words: ``"4-bit"`` or ``"8-bit"`` only within one bit of it, over all weights."""
        mean = f"{self.mean:.1f} bits a weight"
        earned = next((bits for bits in _EARNED if abs(self.mean - bits) <= 1), None)
        return mean if earned is None else f"{earned}-bit ({mean})"

    @property
    def left_out(self) -> PartBits | None:
        """The largest part of the decoder's matrices that the quantisation left at 16 bits or more.

        None if it left none, or if nothing is quantised.
        """
        matrices = [part for part in self.parts if part.part in ("attention", "mlp", "experts")]
        if not any(part.bits <= _PACKED_BELOW for part in matrices):
            return None
        left = [part for part in matrices if part.bits >= _LEFT_FROM]
        return max(left, key=lambda part: part.weights, default=None)

    def to_pandas(self) -> pd.DataFrame:
        """Return a row per part: ``part, weights, share, bits, bytes, format``."""
        import pandas as pd

        return pd.DataFrame(
            {
                "part": [part.label for part in self.parts],
                "weights": [part.weights for part in self.parts],
                "share": [part.weights / self.weights for part in self.parts],
                "bits": [part.bits for part in self.parts],
                "bytes": [part.bytes for part in self.parts],
                "format": [part.format for part in self.parts],
            }
        )

    def to_dict(self) -> dict[str, Any]:
        """Return the figures as plain data."""
        return {
            "name": self.name,
            "method": self.method,
            "measured": self.measured,
            "weights": self.weights,
            "bytes": self.bytes,
            "mean_bits": self.mean,
            "summary": self.summary,
            "parts": [
                {
                    "part": part.part,
                    "weights": part.weights,
                    "bytes": part.bytes,
                    "bits": part.bits if part.weights else None,
                    "formats": dict(part.formats),
                }
                for part in self.parts
            ],
        }


def weight_bits(model: Any, name: str) -> WeightBits:
    """Count the bytes of a model's tensors by part.

    The weights that a part has come from the same model without quantisation, built without storage, so that
    packed and renamed tensors of any method are counted right. A tensor that two modules share counts once;
    weights that accelerate keeps on disk count as they are there. Adapters are not weights of the model and
    are left out.

    Parameters
    ----------
    model
        A model of transformers, quantised or not; or with an adapter of PEFT.
    name
        Its name in the result.
    """
    base = model.get_base_model() if hasattr(model, "get_base_model") else model
    counts, owners, buffers = _reference(base)
    sizes: dict[str, dict[str, float]] = {part: {} for part in counts}
    seen = set()
    for path, tensor in (*base.named_parameters(), *base.named_buffers()):
        plain = path.replace(".base_layer", "")
        owner = _owner(plain, owners)
        if owner is None or plain in buffers or "lora_" in path or id(tensor) in seen:
            continue
        seen.add(id(tensor))
        part = owners[owner]
        module = base.get_submodule(path.rpartition(".")[0])
        for kind, size in _held(module, path.rpartition(".")[2], tensor):
            sizes.setdefault(part, {})
            sizes[part][kind] = sizes[part].get(kind, 0.0) + size
    order = [*NAMES]
    parts = [
        PartBits(part, counts.get(part, 0), sum(formats.values()), formats)
        for part, formats in sorted(sizes.items(), key=lambda item: order.index(item[0]))
    ]
    return WeightBits(name=name, parts=tuple(parts), method=method_name(base))


def bits_of_shapes(
    shapes: Iterable[tuple[str, tuple[int, ...]]], method: LoadMethod | None, *, name: str, item: int
) -> WeightBits:
    """Return the bits in which weights of some shapes would be held.

    Parameters
    ----------
    shapes
        Name and shape of each weight.
    method
        How they would be packed; None for not at all.
    name
        The model's name in the result.
    item
        Bytes of a number that is not packed.
    """
    counts: dict[str, int] = {}
    sizes: dict[str, dict[str, float]] = {}
    plain = {2: "bfloat16", 4: "float32", 8: "float64"}[item]
    for path, shape in shapes:
        part, elements = part_of(path), prod(shape)
        packed = method is not None and method.packs(path, len(shape))
        held = method.held_bytes(path, shape, item) if method is not None else float(elements * item)
        counts[part] = counts.get(part, 0) + elements
        formats = sizes.setdefault(part, {})
        kind = method.format_of(part) if packed and method is not None else plain
        formats[kind] = formats.get(kind, 0.0) + held
    parts = tuple(
        PartBits(part, counts[part], sum(sizes[part].values()), sizes[part])
        for part in NAMES
        if part in counts
    )
    return WeightBits(name, parts, method=method.name if method else "", measured=False)


def warn_of_weights_left(model: Any, name: str) -> None:
    """Warn if a quantised model holds a large part of its matrices in 16 bits or more.

    Libraries pack linear layers, and a mixture of experts keeps most of its weights in stacked parameters,
    which are none: it then takes nearly the memory of the unpacked model.
    """
    if not is_quantized(model):
        return
    found = weight_bits(model, name)
    left = found.left_out
    asked = getattr(model.hf_quantizer.quantization_config, "keep", ())  # left because it was asked for
    if left is not None and left.part not in asked and left.weights > 0.2 * found.weights:
        warnings.warn(
            f"{found.method} leaves the {left.label} of {name} in {left.bits:.0f} bits: "
            f"{left.weights / found.weights:.0%} of its weights. It holds {found.mean:.1f} bits a weight, "
            f'{found.bytes / 1e9:.3g} GB. quantization="int8" and "int4" pack them.',
            stacklevel=4,
        )


def weight_count(model: Any) -> int:
    """Return how many weights a model has, however they are stored; tied ones count once."""
    return sum(_reference(model)[0].values())


def is_quantized(model: Any) -> bool:
    """Return whether transformers loaded a model with a quantisation."""
    return getattr(model, "hf_quantizer", None) is not None


def method_name(model: Any) -> str:
    """Return the name of a model's quantisation, as `gemma_lab.load` takes it where it does; else ``""``."""
    settings = getattr(getattr(model, "hf_quantizer", None), "quantization_config", None)
    if settings is None:
        return ""
    if hasattr(settings, "embeddings"):
        return str(settings.name)
    method = str(getattr(settings.quant_method, "value", settings.quant_method))
    if method == "bitsandbytes":
        return "bnb-int8" if settings.load_in_8bit else str(settings.bnb_4bit_quant_type)
    if method == "torchao":
        kind = type(settings.quant_type).__name__
        return "torchao-int8" if kind == "Int8WeightOnlyConfig" else f"torchao {kind}"
    return method


_REFERENCES: WeakKeyDictionary[Any, tuple[dict[str, int], dict[str, str], frozenset[str]]] = (
    WeakKeyDictionary()
)


def _reference(model: Any) -> tuple[dict[str, int], dict[str, str], frozenset[str]]:
    """Return weights by part, the part of each module that has some, and the names of its buffers."""
    if model not in _REFERENCES:
        config = copy.deepcopy(model.config)
        if hasattr(config, "quantization_config"):
            del config.quantization_config
        with torch.device("meta"):
            twin = type(model)(config)
        counts: dict[str, int] = {}
        for path, parameter in twin.named_parameters():  # tied ones once
            part = part_of(path)
            counts[part] = counts.get(part, 0) + parameter.numel()
        owners = {
            path.rpartition(".")[0]: part_of(path)
            for path, _ in twin.named_parameters(remove_duplicate=False)
        }
        _REFERENCES[model] = counts, owners, frozenset(path for path, _ in twin.named_buffers())
    return _REFERENCES[model]


def _owner(path: str, owners: Mapping[str, str]) -> str | None:
    """Return the module with weights that a tensor belongs to: the longest prefix of its path."""
    while "." in path:
        path = path.rpartition(".")[0]
        if path in owners:
            return path
    return None


def _held(module: Any, name: str, tensor: torch.Tensor) -> Iterator[tuple[str, float]]:
    """Yield the formats in which a tensor is held, with their bytes."""
    if hasattr(tensor, "__tensor_flatten__"):  # a packed tensor of torchao
        inner, _ = tensor.__tensor_flatten__()
        for attribute in inner:
            held = getattr(tensor, attribute)
            kind = _dtype(held) if attribute == "qdata" else "scales"
            yield kind, float(held.nbytes)
        return
    state = getattr(tensor, "quant_state", None)
    if state is not None:  # bitsandbytes, 4 bits
        yield str(state.quant_type), float(tensor.nbytes)
        yield "scales", float(sum(held.nbytes for held in _tensors(state)))
        return
    scales = getattr(tensor, "SCB", None)
    if scales is not None:  # bitsandbytes, 8 bits
        yield "int8", float(tensor.nbytes)
        yield "scales", float(scales.nbytes)
        return
    if name in packed_parameters(module):
        yield f"int{module.bits}", float(tensor.nbytes)
    elif name.endswith((SCALES, "_scale")):
        yield "scales", float(tensor.nbytes)
    else:
        packed = getattr(module, "num_bits", None)  # of the mobile format, which packs below a byte
        known = packed is not None and not tensor.is_floating_point()
        yield f"int{packed}" if known else _dtype(tensor), float(tensor.nbytes)


def _tensors(state: Any) -> Iterator[torch.Tensor]:
    for held in (state.absmax, state.code, getattr(state, "offset", None)):
        if torch.is_tensor(held):
            yield held
    if getattr(state, "state2", None) is not None:
        yield from _tensors(state.state2)


def _dtype(tensor: torch.Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")

"""Two layouts of an adapter's tensors in a file: packed, as PEFT writes it, and one module per expert.

Packed: ``….experts.base_layer.lora_A.weight`` and ``….experts.lora_A.weight`` hold the factors of
``gate_up_proj`` and ``down_proj`` of all experts, ``(experts · rank, input)`` and
``(output, rank · experts)``.
Per expert: ``….moe.experts.{e}.{gate_proj,up_proj,down_proj}.lora_A.weight``, ``(rank, input)``, as vLLM's
default loader takes them (reference: OpenPipe/ART pull request 865, vLLM issue 41754).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Literal

import torch

from ...errors import BadCheckpoint

Layout = Literal["packed", "per expert"]
LAYOUTS: tuple[Layout, ...] = ("packed", "per expert")
_PREFIX = "base_model.model."
_FACTOR = re.compile(r"(.+)\.(lora_[AB])(?:\.default)?\.weight")
_PER_EXPERT = re.compile(r"(.+)\.moe\.experts\.(\d+)\.(gate_proj|up_proj|down_proj)")
_FUSED = re.compile(r"(.+\.experts)\.(gate_up_proj|down_proj)")
Tensors = dict[str, torch.Tensor]


def to_packed(tensors: Mapping[str, torch.Tensor]) -> Tensors:
    """Return tensors by PEFT's names.

    Parameters
    ----------
    tensors
        ``"<weight>.lora_A"`` and ``.lora_B`` → factors, as `LoraLayers.parameters` names them.
    """
    fused = {name.rpartition(".")[0] for name in tensors if _FUSED.fullmatch(name.rpartition(".")[0])}
    written = {}
    for name, tensor in tensors.items():
        weight, _, factor = name.rpartition(".")
        if match := _FUSED.fullmatch(weight):
            both = {f"{match[1]}.gate_up_proj", f"{match[1]}.down_proj"} <= fused
            weight = f"{match[1]}.base_layer" if both and match[2] == "gate_up_proj" else match[1]
        written[f"{_PREFIX}{weight}.{factor}.weight"] = tensor
    return written


def to_per_expert(tensors: Mapping[str, torch.Tensor], shapes: Mapping[str, tuple[int, ...]]) -> Tensors:
    """Return tensors with one module per expert and projection.

    Parameters
    ----------
    tensors
        As for `to_packed`.
    shapes
        Weight → its shape, ``(experts, output, input)`` for fused ones.
    """
    written: Tensors = {}
    for name, tensor in tensors.items():
        weight, _, factor = name.rpartition(".")
        match = _FUSED.fullmatch(weight)
        if match is None:
            written[f"{_PREFIX}{weight}.{factor}.weight"] = tensor
            continue
        experts, outputs, _ = shapes[weight]
        layer = match[1].removesuffix(".experts")
        if factor == "lora_A":
            parts = tensor.reshape(experts, -1, tensor.shape[-1])
        else:
            parts = tensor.reshape(outputs, -1, experts).permute(2, 0, 1)
        for expert, part in enumerate(parts):
            at = f"{_PREFIX}{layer}.moe.experts.{expert}"
            if match[2] == "down_proj":
                written[f"{at}.down_proj.{factor}.weight"] = part.contiguous()
                continue
            halves = (part, part) if factor == "lora_A" else part.chunk(2)
            for projection, half in zip(("gate_proj", "up_proj"), halves, strict=True):
                written[f"{at}.{projection}.{factor}.weight"] = half.clone()
    return written


def read_layout(
    written: Mapping[str, torch.Tensor], shapes: Mapping[str, tuple[int, ...]]
) -> tuple[Tensors, bool]:
    """Return the tensors of a file of either layout by the names of weights.

    Parameters
    ----------
    written
        What the file holds.
    shapes
        Shapes of the model's weights.

    Returns
    -------
    tensors
        As `to_packed` takes them. Factors of experts are packed; experts that the file lacks are zero.
    doubled
        Whether the rank is twice that of the file, because gate and up projections of an expert have
        different first factors; all factors are filled up with zeros then.

    Raises
    ------
    BadCheckpoint
        If a name or a shape fits no weight of the model.
    """
    factors: dict[str, Tensors] = {}
    for key, tensor in written.items():
        match = _FACTOR.fullmatch(key.removeprefix(_PREFIX))
        if match is None:
            raise BadCheckpoint(f"The adapter's file holds {key}, which is no factor of LoRA.", hint=_HINT)
        factors.setdefault(match[1], {})[match[2]] = tensor
    for name, pair in factors.items():
        if len(pair) != 2 or any(tensor.ndim != 2 for tensor in pair.values()):
            raise BadCheckpoint(f"The adapter's file does not hold both factors of {name}.", hint=_HINT)
    tensors: Tensors = {}
    experts: dict[str, dict[tuple[int, str], Tensors]] = {}
    for name, pair in factors.items():
        if match := _PER_EXPERT.fullmatch(name):
            experts.setdefault(f"{match[1]}.experts", {})[int(match[2]), match[3]] = pair
        else:
            weight = _weight_of(name, pair, shapes)
            tensors |= {f"{weight}.{factor}": tensor for factor, tensor in pair.items()}
    separate = any(_separate(parts) for parts in experts.values())
    for module, parts in experts.items():
        tensors |= _packed_experts(module, parts, shapes, separate=separate)
    if separate:
        fused = {f"{module}.gate_up_proj" for module in experts}
        tensors = {
            name: tensor if name.rpartition(".")[0] in fused else _doubled(name, tensor, shapes)
            for name, tensor in tensors.items()
        }
    return tensors, separate


_HINT = (
    "gl.load(…, adapter=folder) reads LoRA adapters as PEFT saves them, and those with a module per expert."
)


def _weight_of(name: str, pair: Tensors, shapes: Mapping[str, tuple[int, ...]]) -> str:
    """Return the weight that a module's factors belong to; shapes tell those of fused weights apart."""
    if name in shapes:
        return name
    module = name.removesuffix(".base_layer")
    for projection in ("gate_up_proj", "down_proj"):
        shape = shapes.get(f"{module}.{projection}")
        if shape is not None and (pair["lora_B"].shape[0], pair["lora_A"].shape[1]) == shape[1:]:
            return f"{module}.{projection}"
    raise BadCheckpoint(
        f"The adapter changes {name}, which the model does not have"
        + (" in this shape." if any(key.startswith(module) for key in shapes) else "."),
        hint="The adapter belongs to another model.",
    )


def _separate(parts: Mapping[tuple[int, str], Tensors]) -> bool:
    """Return whether gate and up projections of any expert have first factors of their own."""
    return any(
        not torch.equal(pair["lora_A"], parts[expert, "up_proj"]["lora_A"])
        for (expert, projection), pair in parts.items()
        if projection == "gate_proj" and (expert, "up_proj") in parts
    ) or any(
        (expert, {"gate_proj": "up_proj", "up_proj": "gate_proj"}[projection]) not in parts
        for expert, projection in parts
        if projection != "down_proj"
    )


def _packed_experts(
    module: str,
    parts: Mapping[tuple[int, str], Tensors],
    shapes: Mapping[str, tuple[int, ...]],
    *,
    separate: bool,
) -> Tensors:
    """Return the packed factors of one layer's experts."""
    tensors: Tensors = {}
    rank = next(iter(parts.values()))["lora_A"].shape[0]
    for projection, names in (("gate_up_proj", ("gate_proj", "up_proj")), ("down_proj", ("down_proj",))):
        given = {key: pair for key, pair in parts.items() if key[1] in names}
        if not given:
            continue
        weight = f"{module}.{projection}"
        if weight not in shapes or len(shapes[weight]) != 3:
            raise BadCheckpoint(f"The model has no {weight}.", hint="The adapter belongs to another model.")
        experts, outputs, inputs = shapes[weight]
        width = rank * (len(names) if separate else 1)
        first, second = torch.zeros(experts, width, inputs), torch.zeros(experts, outputs, width)
        for (expert, name), pair in given.items():
            half = outputs // len(names)
            rows = slice(names.index(name) * half, (names.index(name) + 1) * half)
            columns = (
                slice(names.index(name) * rank, (names.index(name) + 1) * rank) if separate else slice(rank)
            )
            if (
                expert >= experts
                or pair["lora_A"].shape != (rank, inputs)
                or pair["lora_B"].shape != (half, rank)
            ):
                raise BadCheckpoint(
                    f"Expert {expert} of {module} has factors {tuple(pair['lora_A'].shape)} and "
                    f"{tuple(pair['lora_B'].shape)} of {name}; the model has {experts} experts of "
                    f"{(half, inputs)}.",
                    hint="The adapter belongs to another model.",
                )
            first[expert, columns], second[expert, rows, columns] = (
                pair["lora_A"].float(),
                pair["lora_B"].float(),
            )
        tensors[f"{weight}.lora_A"] = first.reshape(experts * width, inputs)
        tensors[f"{weight}.lora_B"] = second.permute(1, 2, 0).reshape(outputs, width * experts).contiguous()
    return tensors


def _doubled(name: str, tensor: torch.Tensor, shapes: Mapping[str, tuple[int, ...]]) -> torch.Tensor:
    """Return a factor filled up with zeros to twice its rank."""
    weight, _, factor = name.rpartition(".")
    experts = shapes[weight][0] if len(shapes[weight]) == 3 else 1
    if factor == "lora_A":
        parts = tensor.float().reshape(experts, -1, tensor.shape[-1])
        return torch.cat([parts, torch.zeros_like(parts)], 1).reshape(2 * tensor.shape[0], -1)
    parts = tensor.float().reshape(tensor.shape[0], -1, experts)
    return torch.cat([parts, torch.zeros_like(parts)], 1).reshape(tensor.shape[0], -1)

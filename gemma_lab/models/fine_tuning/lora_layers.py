"""LoRA layers of PEFT around a model's layers, created once, attached and detached by exchanging modules.

PEFT's own switches keep its layers in the model. Here the original modules are put back where they were, so a
model without an active adapter is the base model, and several adapters can target different parts.
"""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator
from typing import Any

import torch

from ...errors import LabError
from ..loading.restore import RestoreStack, hooks_of
from .peft_library import peft
from .targets import Targets

_NAME = "default"  # PEFT's name of the only adapter in its layers


class LoraLayers:
    """The LoRA layers of one adapter for one model, initially detached.

    Parameters
    ----------
    model
        A Gemma 4 of transformers without an attached adapter.
    targets
        What is adapted.
    rank, alpha
        The update of a weight is ``alpha / rank · B @ A``.
    seed
        Of the first factor; the second one is zero, so that a new adapter changes nothing.

    Attributes
    ----------
    attached : bool
    weights : dict
        Name of an adapted weight → its LoRA layer.
    """

    def __init__(
        self, model: torch.nn.Module, targets: Targets, *, rank: int, alpha: float, seed: int = 0
    ) -> None:
        library = peft()
        config = library.LoraConfig(
            r=rank,
            lora_alpha=alpha,
            target_modules=targets.module_pattern or [],  # None would be PEFT's choice for the architecture
            target_parameters=targets.parameter_names,
        )
        self._model = model
        flags = {parameter: parameter.requires_grad for parameter in model.parameters()}
        with RestoreStack() as restore, torch.random.fork_rng(devices=[]), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of tied weights, which no target includes
            restore.undo(_unwrap, model)
            restore.undo(_set_flags, flags)
            torch.manual_seed(seed)
            library.inject_adapter_in_model(config, model, _NAME)
            self._swaps = [
                (parent, name, child, child.get_base_layer())
                for parent in model.modules()
                if not _is_lora(parent)
                for name, child in _children(parent)
                if _is_lora(child)
            ]
            self.weights = dict(_adapted(model))
        self.attached = False
        missing = sorted(set(targets.shapes) ^ set(self.weights))
        if missing:
            raise LabError(
                f"PEFT {library.__version__} adapted {len(self.weights)} of {len(targets.shapes)} weights; "
                f"the first that differs is {missing[0]}.",
                hint="Another release of PEFT may support it.",
            )
        bases = {module for _, _, _, base in self._swaps for module in base.modules()}
        for layer in self.weights.values():
            for factors in (layer.lora_A, layer.lora_B):
                factors[_NAME].float().requires_grad_(False)
            for module in set(layer.modules()) - bases:
                module.training = False  # as the loaded model is

    def parameters(self) -> dict[str, torch.nn.Parameter]:
        """Return the factors by name: ``"<weight>.lora_A"`` (rank, input) and ``".lora_B"`` (output, rank).

        Those of experts are as PEFT keeps them: ``(experts · rank, input)``, expert by expert, and
        ``(output, rank · experts)``, rank by rank.
        """
        return {
            f"{name}.{factor}": getattr(layer, factor)[_NAME].weight
            for name, layer in self.weights.items()
            for factor in ("lora_A", "lora_B")
        }

    def load(self, tensors: dict[str, torch.Tensor]) -> None:
        """Copy the values of every factor from tensors of the same names."""
        with torch.no_grad():
            for name, parameter in self.parameters().items():
                parameter.copy_(tensors[name])

    def attach(self) -> None:
        """Put the LoRA layers in place of the base layers."""
        self._refuse_hooks()
        for parent, name, layer, _ in self._swaps:
            setattr(parent, name, layer)
        self.attached = True

    def detach(self) -> None:
        """Put the base layers back."""
        self._refuse_hooks()
        for parent, name, _, base in self._swaps:
            _end_forward(base)
            setattr(parent, name, base)
        self.attached = False

    @contextlib.contextmanager
    def trainable(self) -> Iterator[list[torch.nn.Parameter]]:
        """Let gradients flow to the factors, and to nothing else, within a block."""
        factors = list(self.parameters().values())
        flags = {parameter: parameter.requires_grad for parameter in self._model.parameters()}
        flags |= dict.fromkeys(factors, False)
        with RestoreStack() as restore:
            restore.undo(_set_flags, flags)
            restore.undo(_drop_gradients, factors)
            for parameter in flags:
                parameter.requires_grad_(False)
            for parameter in factors:
                parameter.requires_grad_(True)
            yield factors

    def deltas(self) -> Iterator[tuple[torch.nn.Parameter, torch.Tensor]]:
        """Yield every adapted weight with the update that is added to it, both of the same shape, float32.

        Raises
        ------
        LabError
            If a weight is quantised.
        """
        factors = self.parameters()
        for name, layer in self.weights.items():
            weight = layer.get_param() if hasattr(layer, "parameter_name") else layer.get_base_layer().weight
            if not _is_plain(weight, layer):
                raise LabError(
                    f"{name} is quantised: an update cannot be added to it.",
                    hint="Load the base in bfloat16 to merge an adapter.",
                )
            first, second = factors[f"{name}.lora_A"].detach(), factors[f"{name}.lora_B"].detach()
            yield weight, delta(first, second, shape=tuple(weight.shape), scale=layer.scaling[_NAME])

    def _refuse_hooks(self) -> None:
        """Raise `LabError` if hooks are on the layers that are exchanged: their work would silently end."""
        hooked = [name for _, name, layer, base in self._swaps if hooks_of(layer) or hooks_of(base)]
        if hooked:
            raise LabError(
                f"{len(hooked)} adapted layers have hooks, e.g. {hooked[0]}: an edit or a probe is active.",
                hint="Change adapters outside lab.edit(…).",
            )


def delta(first: torch.Tensor, second: torch.Tensor, *, shape: tuple[int, ...], scale: float) -> torch.Tensor:
    """Return the update of a weight from its factors, float32, of the weight's shape."""
    first, second = first.float(), second.float()
    if len(shape) == 2:
        return scale * (second @ first)
    experts = shape[0]
    by_expert = first.reshape(experts, -1, first.shape[-1])  # experts, rank, input
    outputs = second.reshape(second.shape[0], -1, experts).permute(2, 0, 1)  # experts, output, rank
    return scale * torch.bmm(outputs, by_expert)


def _is_plain(weight: torch.nn.Parameter, layer: Any) -> bool:
    """Return whether a weight is an ordinary floating-point tensor of its layer's shape."""
    ordinary = type(weight.data) is torch.Tensor and weight.is_floating_point()
    fused = hasattr(layer, "parameter_name")
    return ordinary and (fused or tuple(weight.shape) == (layer.out_features, layer.in_features))


def _children(module: torch.nn.Module) -> list[tuple[str, Any]]:
    return list(module.named_children())


def _is_lora(module: Any) -> bool:
    return hasattr(module, "lora_A") and hasattr(module, "get_base_layer")


def _adapted(model: torch.nn.Module) -> Iterator[tuple[str, Any]]:
    """Yield the name of every adapted weight with its LoRA layer."""
    for name, module in model.named_modules():
        if _is_lora(module):
            # the layers of several parameters of one module are nested: the inner ones are its base_layer
            base = name.removesuffix(".base_layer")
            parameter = getattr(module, "parameter_name", None)
            yield (f"{base}.{parameter}" if parameter else base), module


def _unwrap(model: torch.nn.Module) -> None:
    """Remove every LoRA layer and what PEFT noted on the model."""
    for parent in [module for module in model.modules() if not _is_lora(module)]:
        for name, child in _children(parent):
            if _is_lora(child):
                setattr(parent, name, child.get_base_layer())
    vars(model).pop("peft_config", None)


def _end_forward(module: torch.nn.Module) -> None:
    """Remove what an interrupted forward pass of PEFT left on a module with fused parameters."""
    for name in list(getattr(module, "parametrizations", {})):
        torch.nn.utils.parametrize.remove_parametrizations(module, name, leave_parametrized=False)


def _set_flags(flags: dict[torch.nn.Parameter, bool]) -> None:
    for parameter, flag in flags.items():
        parameter.requires_grad_(flag)


def _drop_gradients(parameters: list[torch.nn.Parameter]) -> None:
    for parameter in parameters:
        parameter.grad = None

"""Parts of a Gemma 4 that an adapter can train, found in the model itself.

A target is a pattern of module names. What a model has of it depends on its shape: global layers with K = V
have no ``v_proj``, KV-shared layers have neither ``k_proj`` nor ``v_proj``, clipped linear layers of the
towers hold theirs in ``.linear``, and experts are fused three-dimensional parameters.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from ...errors import LabError

#: The decoder's layers in checkpoints with towers and in those without.
_LAYER = r"model\.(?:language_model\.)?layers\.\d+\."
#: Target → what it is, the pattern of its linear layers, and that of its fused parameters.
TARGETS: Mapping[str, tuple[str, str, str]] = {
    "attention": (
        "query, key, value and output projections of the decoder",
        _LAYER + r"self_attn\.(?:q|k|v|o)_proj",
        "",
    ),
    "mlp": ("the decoder's dense feed-forward blocks", _LAYER + r"mlp\.(?:gate|up|down)_proj", ""),
    "experts": ("the experts' fused projections", "", _LAYER + r"experts\.(?:gate_up|down)_proj"),
    "router": ("the routers' projections, which score the experts", _LAYER + r"router\.proj", ""),
    "vision": (
        "the vision tower, or the embedder of an encoder-free model, and its projection into the decoder",
        r"model\.vision_tower\.(?:.+\.)?(?:linear|input_proj)"
        r"|model\.embed_vision\.(?:.+\.)?(?:patch_dense|embedding_projection)",
        "",
    ),
    "audio": (
        "the audio tower, or the embedder of an encoder-free model, and its projection into the decoder",
        r"model\.audio_tower\.(?:.+\.)?(?:linear|input_proj_linear|output_proj)"
        r"|model\.embed_audio\.(?:.+\.)?embedding_projection",
        "",
    ),
}
#: Target → modality that the examples must have, or nothing of it is trained.
NEEDS = {"vision": ("image", "video"), "audio": ("audio",)}


@dataclass(frozen=True)
class Targets:
    """Chosen parts of one model.

    Attributes
    ----------
    names
        Of `TARGETS`, in its order.
    modules
        Full names of the linear layers.
    parameters
        Full names of the fused parameters.
    shapes
        Name → shape of the weight: ``(output, input)``, or ``(experts, output, input)``.
    complete
        Whether it is all that the model has of these targets.
    """

    names: tuple[str, ...]
    modules: tuple[str, ...]
    parameters: tuple[str, ...]
    shapes: Mapping[str, tuple[int, ...]]
    complete: bool = True

    @property
    def module_pattern(self) -> str | None:
        """Regular expression that matches the full names of the linear layers: PEFT's ``target_modules``."""
        if not self.modules:
            return None
        if self.complete:
            return "|".join(f"(?:{TARGETS[name][1]})" for name in self.names if TARGETS[name][1])
        return "|".join(re.escape(name) for name in self.modules)

    @property
    def parameter_names(self) -> list[str] | None:
        """The fused parameters, by suffix if those of all layers are meant: PEFT's ``target_parameters``."""
        if not self.parameters:
            return None
        if not self.complete:
            return list(self.parameters)
        # gate_up_proj first: of two parameters of a module, PEFT puts the layer of the second one outside
        return sorted({".".join(name.split(".")[-2:]) for name in self.parameters}, reverse=True)

    def adapter_parameters(self, rank: int) -> int:
        """Return how many numbers an adapter of a rank has: both factors of every weight."""
        return sum(
            rank * (shape[0] if len(shape) == 3 else 1) * (shape[-1] + shape[-2])
            for shape in self.shapes.values()
        )


def target_of(name: str) -> str:
    """Return the target that a module or parameter belongs to, or ``"other"``."""
    for target, (_, *patterns) in TARGETS.items():
        if any(pattern and re.fullmatch(pattern, name) for pattern in patterns):
            return target
    return "other"


def available_targets(model: torch.nn.Module) -> dict[str, Targets]:
    """Return the targets that a model has, by name.

    Parameters
    ----------
    model
        A Gemma 4 of transformers; a model on the meta device will do.
    """
    found: dict[str, Targets] = {}
    linear = {name: module for name, module in model.named_modules() if isinstance(module, torch.nn.Linear)}
    fused = {
        name: parameter
        for name, parameter in model.named_parameters()
        if parameter.ndim == 3 and parameter.is_floating_point()
    }
    for target, (_, modules, parameters) in TARGETS.items():
        chosen = [name for name in linear if modules and re.fullmatch(modules, name)]
        stacked = [name for name in fused if parameters and re.fullmatch(parameters, name)]
        shapes = {name: (linear[name].out_features, linear[name].in_features) for name in chosen}
        shapes |= {name: tuple(fused[name].shape) for name in stacked}  # type: ignore[misc]
        if shapes:
            found[target] = Targets((target,), tuple(chosen), tuple(stacked), shapes)
    return found


def resolve_targets(model: torch.nn.Module, names: Any, *, model_name: str = "the model") -> Targets:
    """Return the parts of a model that target names select.

    Parameters
    ----------
    model
        A Gemma 4 of transformers.
    names
        Names of `TARGETS`; one may be passed alone.
    model_name
        For errors.

    Raises
    ------
    LabError
        If a name is no target, or the model has nothing of it; the hint lists the model's own.
    """
    listed = [names] if isinstance(names, str) else list(names) if isinstance(names, Iterable) else [names]
    found = available_targets(model)
    choices = "; ".join(f"{name!r} ({TARGETS[name][0]})" for name in found)
    hint = f"{model_name} has {choices}."
    if not listed:
        raise LabError("There are no targets, so nothing would be trained.", hint=hint)
    for name in listed:
        if not isinstance(name, str) or name not in TARGETS:
            raise LabError(f"{name!r} is not a target.", hint=hint)
        if name not in found:
            raise LabError(f"{model_name} has no {name} to train{_why(model, name)}.", hint=hint)
    parts = [found[name] for name in TARGETS if name in listed]
    return Targets(
        tuple(name for part in parts for name in part.names),
        tuple(name for part in parts for name in part.modules),
        tuple(name for part in parts for name in part.parameters),
        {name: shape for part in parts for name, shape in part.shapes.items()},
    )


def targets_of_weights(model: torch.nn.Module, names: Iterable[str]) -> Targets:
    """Return the linear layers and fused parameters of given names.

    Raises
    ------
    LabError
        With the names that the model does not have.
    """
    modules = {name: module for name, module in model.named_modules() if isinstance(module, torch.nn.Linear)}
    fused = {name: parameter for name, parameter in model.named_parameters() if parameter.ndim == 3}
    listed = list(names)
    missing = [name for name in listed if name not in modules and name not in fused]
    if missing:
        raise LabError(
            f"The model has no {missing[0]}, nor {len(missing) - 1} others of {len(listed)} adapted weights.",
            hint="The adapter belongs to a model of another shape.",
        )
    shapes: dict[str, tuple[int, ...]] = {
        name: tuple(fused[name].shape)
        if name in fused
        else (modules[name].out_features, modules[name].in_features)
        for name in listed
    }
    parts = {target_of(name) for name in listed}
    chosen = Targets(
        tuple(name for name in (*TARGETS, "other") if name in parts),
        tuple(name for name in listed if name in modules),
        tuple(name for name in listed if name in fused),
        shapes,
        complete=False,
    )
    if "other" in parts:
        return chosen
    every = resolve_targets(model, chosen.names)
    return every if set(every.shapes) == set(shapes) else chosen


def _why(model: torch.nn.Module, target: str) -> str:
    """Return the reason why a model that should have a target has nothing of it, if there is one."""
    text = getattr(model, "config", None)
    text = text.get_text_config() if text is not None else None
    if target in ("experts", "router") and getattr(text, "enable_moe_block", False):
        return ": its experts are not fused floating-point parameters, e.g. because they are quantised"
    if target in ("experts", "router"):
        return ": it is a dense model"
    if target in ("attention", "mlp"):
        return ": its linear layers are quantised in a way that PEFT does not know"
    return ": it has no such tower"

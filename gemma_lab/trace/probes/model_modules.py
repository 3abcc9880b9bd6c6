"""Find a model's modules: its decoder, the decoder's layers, and attention modules."""

from __future__ import annotations

from typing import Any, cast

import torch


def decoder_of(model: torch.nn.Module) -> torch.nn.Module:
    """Return the text decoder of a model: the module that has its layers."""
    get_decoder: Any = getattr(model, "get_decoder", None)
    return model if get_decoder is None else cast(torch.nn.Module, get_decoder())


def layers_of(model: torch.nn.Module) -> list[torch.nn.Module]:
    """Return the layers of a model's decoder."""
    layers: Any = getattr(decoder_of(model), "layers", ())
    return list(layers)


def device_of(module: torch.nn.Module) -> torch.device | None:
    """Return the device that a module computes on; None if it has no parameters.

    Parameters that accelerate offloaded are on the device ``meta`` between calls: its hook names the device.
    """
    first = next(module.parameters(), None)
    if first is None:
        return None
    hook: Any = getattr(module, "_hf_hook", None)
    named = [getattr(one, "execution_device", None) for one in getattr(hook, "hooks", (hook,))]
    known = [device for device in named if device is not None]
    return torch.device(known[0]) if first.is_meta and known else first.device


def entry_modules(model: torch.nn.Module) -> list[torch.nn.Module]:
    """Return the modules whose call runs the layers, outermost first: the model, its body, its decoder."""
    modules = [model]
    for module in (getattr(model, "base_model", model), decoder_of(model)):
        if isinstance(module, torch.nn.Module) and all(module is not other for other in modules):
            modules.append(module)
    return modules


def attentions(model: torch.nn.Module) -> dict[int, torch.nn.Module]:
    """Return the attention module of each decoder layer, by layer; layers without one are left out."""
    by_layer = {}
    for number, layer in enumerate(layers_of(model)):
        for module in layer.modules():
            if hasattr(module, "layer_idx") and hasattr(module, "scaling") and hasattr(module, "config"):
                by_layer[number] = module
                break
    return by_layer


def vision_attentions(model: torch.nn.Module) -> list[torch.nn.Module]:
    """Return the attention modules of the vision tower in layer order; an empty list without a tower."""
    tower = getattr(getattr(model, "base_model", model), "vision_tower", None)
    if tower is None:
        return []
    return [
        module
        for module in tower.modules()
        if hasattr(module, "is_causal") and hasattr(module, "config") and hasattr(module, "q_proj")
    ]

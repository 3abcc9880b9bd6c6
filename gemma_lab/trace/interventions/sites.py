"""Where a layer's activations are read and written: the residual stream, and what its branches return."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch

from ...errors import BadEdit
from ...models.loading.restore import RestoreStack
from ..probes.model_modules import attentions, layers_of
from ..probes.routers import routers
from ..records.activations import Site

#: Takes what a site returns, ``[rows, tokens, width]``, and returns what replaces it; None for no change.
Change = Callable[[torch.Tensor], torch.Tensor | None]


def site_modules(model: torch.nn.Module, site: Site) -> dict[int, tuple[torch.nn.Module, bool]]:
    """Return, by layer, the module at whose output a site lies; True if it lies at the module's input.

    For Gemma 4: the decoder layer; ``o_proj`` of its attention; its dense ``mlp``; the input of the norm that
    the sum of the experts passes.

    Parameters
    ----------
    model
        A model of transformers.
    site
        ``"residual"``, ``"attention"``, ``"mlp"`` or ``"experts"``.
    """
    if site == "residual":
        return {number: (layer, False) for number, layer in enumerate(layers_of(model))}
    if site == "attention":
        outputs = {number: getattr(module, "o_proj", None) for number, module in attentions(model).items()}
        return {number: (module, False) for number, module in outputs.items() if module is not None}
    if site == "mlp":
        found = {number: getattr(layer, "mlp", None) for number, layer in enumerate(layers_of(model))}
        return {
            number: (module, False)
            for number, module in found.items()
            if module is not None and hasattr(module, "down_proj")
        }
    return {
        router.layer: (router.branches.experts, True)
        for router in routers(model, missing_ok=True)
        if router.branches is not None and router.branches.gate is None
    }


def require_site(model: torch.nn.Module, site: Site, layers: tuple[int, ...], name: str) -> None:
    """Raise `BadEdit` unless a model has a site in every one of some layers."""
    have = site_modules(model, site)
    missing = [layer for layer in layers if layer not in have]
    if missing:
        raise BadEdit(
            f"Layer {missing[0]} of {name} has no site {site!r}.",
            hint="Dense models have no experts; the residual stream is in every layer."
            if site == "experts"
            else "The residual stream is in every layer.",
        )


def hook_site(
    module: torch.nn.Module,
    at_input: bool,
    change: Change,
    restore: RestoreStack,
    *,
    prepend: bool = False,
) -> None:
    """Call a function with what a site returns, and put what it returns in its place.

    Parameters
    ----------
    module, at_input
        From `site_modules`.
    change
        The function.
    restore
        Removes the hook.
    prepend
        Before every other hook of the module.
    """
    if at_input:
        restore.hook(module, partial(_change_input, change), before=True, prepend=prepend)
    else:
        restore.hook(module, partial(_change_output, change), prepend=prepend)


def _change_input(change: Change, _module: torch.nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...] | None:
    changed = change(args[0])
    return None if changed is None else (changed, *args[1:])


def _change_output(change: Change, _module: torch.nn.Module, _args: Any, output: Any) -> Any:
    whole = isinstance(output, tuple)
    changed = change(output[0] if whole else output)
    if changed is None:
        return None
    return (changed, *output[1:]) if whole else changed

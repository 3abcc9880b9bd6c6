"""Record what the branches of every layer return in one pass: heads, attention, dense branch, experts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch

from ...errors import BadTrace
from ...models.loading.restore import RestoreStack
from ..interventions.head_ablation import heads_of
from ..interventions.sites import hook_site, site_modules
from ..probes.routers import Router, routers
from ..records.activations import Site

_BRANCHES: tuple[Site, ...] = ("attention", "mlp", "experts")


@dataclass(eq=False)
class ExpertCall:
    """What the experts of one layer were called with.

    Attributes
    ----------
    hidden
        ``[tokens, width]``.
    ids, weights
        The chosen experts of each token and what their outputs are multiplied with, ``[tokens, top_k]``.
    """

    hidden: torch.Tensor
    ids: torch.Tensor
    weights: torch.Tensor


@dataclass(eq=False)
class BranchOutputs:
    """What the branches of every layer returned in one pass over one sequence; `attach` records it.

    Attributes
    ----------
    outputs
        By site and layer, ``[tokens, width]``, each before the norm that follows.
    heads
        By layer, what ``o_proj`` was given: the outputs of all query heads, ``[tokens, heads × dim]``.
    expert_calls
        By layer.
    """

    model: Any
    outputs: dict[Site, dict[int, torch.Tensor]] = field(default_factory=dict)
    heads: dict[int, torch.Tensor] = field(default_factory=dict)
    expert_calls: dict[int, ExpertCall] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.head_counts = {layer: each.count for layer, each in heads_of(self.model).items()}
        self.routers: dict[int, Router] = {each.layer: each for each in routers(self.model, missing_ok=True)}

    def attach(self, restore: RestoreStack) -> None:
        """Register the hooks; `restore` removes them."""
        for site in _BRANCHES:
            self.outputs[site] = {}
            for layer, (module, at_input) in site_modules(self.model, site).items():
                hook_site(module, at_input, partial(self._keep, site, layer), restore)
        for layer, each in heads_of(self.model).items():
            restore.hook(each.output, partial(self._keep_heads, layer), before=True)
        for layer, router in self.routers.items():
            restore.hook(
                router.experts_module, partial(self._keep_call, layer), before=True, with_kwargs=True
            )

    def replaced_head(self, layer: int, head: int, other: BranchOutputs) -> torch.Tensor:
        """Return what attention would return with one head's output of another run, ``[tokens, width]``."""
        mixed = self.heads[layer].clone()
        width = mixed.shape[-1] // self.head_counts[layer]
        part = slice(head * width, (head + 1) * width)
        mixed[:, part] = other.heads[layer][:, part].to(mixed.device)
        projection: Any = heads_of(self.model)[layer].output
        with torch.no_grad():
            result: torch.Tensor = projection(mixed[None])[0]
        return result

    def contributions(self, layer: int) -> torch.Tensor:
        """Return the weighted output of every chosen expert, ``[tokens, top_k, width]``.

        Raises
        ------
        BadTrace
            If they do not sum to what the experts returned.
        """
        call = self.expert_calls[layer]
        tokens, top_k = call.ids.shape
        run: Callable[..., torch.Tensor] = self.routers[layer].experts_module
        with torch.no_grad():
            each = run(
                call.hidden.repeat_interleave(top_k, dim=0),
                call.ids.reshape(-1, 1),
                call.weights.reshape(-1, 1),
            ).reshape(tokens, top_k, -1)
        whole = self.outputs["experts"][layer].float()
        off = float((each.float().sum(1) - whole).abs().max())
        slack = 1e-4 if each.dtype == torch.float32 else 0.05
        if off > slack * max(1.0, float(whole.abs().max())):
            raise BadTrace(
                f"The experts of layer {layer}, one by one, are off by {off:.3g} from their sum.",
                hint="This experts implementation does more than add weighted outputs.",
            )
        return each

    def _keep(self, site: Site, layer: int, hidden: torch.Tensor) -> None:
        self.outputs[site][layer] = hidden[0].detach()

    def _keep_heads(self, layer: int, _module: Any, args: tuple[torch.Tensor, ...]) -> None:
        self.heads[layer] = args[0][0].detach()

    def _keep_call(self, layer: int, module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        del module
        names = ("hidden_states", "top_k_index", "top_k_weights")
        given = dict(zip(names, args, strict=False)) | kwargs
        hidden, ids, weights = (given[name].detach() for name in names)
        self.expert_calls[layer] = ExpertCall(hidden.reshape(-1, hidden.shape[-1]), ids, weights)

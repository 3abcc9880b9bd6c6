"""Where a model's routers are, and how to read and write what they return.

transformers' routers return ``(scores, weights, ids)``: weights and ids of shape ``[tokens, top_k]`` as they
are handed to the experts, and scores ``[tokens, experts]`` that are probabilities in some families and
versions (Gemma 4 up to at least 5.23) and logits in others. Which it is, is looked at, never assumed.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any
from weakref import WeakSet

import torch

from ..errors import BadTrace, LabError

Output = tuple[torch.Tensor, torch.Tensor, torch.Tensor]

#: Routers whose choice is being edited: their ids need not be the likeliest ones.
EDITED: WeakSet[torch.nn.Module] = WeakSet()

_LAYER = re.compile(r"(?:^|\.)layers\.(\d+)\.")
_NAMES = re.compile(r"(Gemma4\w*TextRouter|\w+TopKRouter)$")
#: What normalises the two branches of a Gemma 4 layer before they are added: dense, experts.
_BRANCHES = ("post_feedforward_layernorm_1", "post_feedforward_layernorm_2")


@dataclass(frozen=True)
class Dispatch:
    """What a router decided for some tokens.

    Attributes
    ----------
    probabilities
        Over all experts, float32 ``[tokens, experts]``.
    shares
        Of the chosen experts, before the per-expert scale, ``[tokens, top_k]``.
    weights
        As the experts' outputs are multiplied with, ``[tokens, top_k]``, in the model's dtype.
    ids
        Of the chosen experts, ``[tokens, top_k]``.
    """

    probabilities: torch.Tensor
    shares: torch.Tensor
    weights: torch.Tensor
    ids: torch.Tensor


@dataclass(frozen=True, eq=False)
class Router:
    """One router of a model.

    Attributes
    ----------
    name
        Module path.
    layer
        Index of its layer.
    module, experts_module
        The router, and the experts that it feeds.
    branches
        The modules whose outputs are the dense and the experts' part of the layer's feed-forward output;
        empty where the experts are all of it, or share it in another way.
    experts, top_k
        How many there are, and how many a token goes to.
    family
        The router's class.
    renormalises
        Whether the chosen shares are made to sum to 1.
    """

    name: str
    layer: int
    module: torch.nn.Module
    experts_module: torch.nn.Module
    branches: tuple[torch.nn.Module, ...]
    experts: int
    top_k: int
    family: str
    renormalises: bool

    @property
    def scale(self) -> torch.Tensor | None:
        """The learned scale of every expert, shape ``[experts]``, where the family has one."""
        found: torch.Tensor | None = getattr(self.module, "per_expert_scale", None)
        return found

    def read(self, output: Output) -> Dispatch:
        """Return what the router's output says.

        Raises
        ------
        BadTrace
            If it is not of the form described above.
        """
        scores, weights, ids = self._parts(output)
        probabilities = scores.float() if are_probabilities(scores) else scores.float().softmax(-1)
        shares = weights.float()
        if self.scale is not None:
            shares = shares / self.scale.float()[ids]
        return Dispatch(probabilities, shares, weights, ids)

    def dispatch(self, probabilities: torch.Tensor, *, like: torch.Tensor | None = None) -> Dispatch:
        """Choose by the family's own rule: the top k, renormalised where it does that, scaled.

        Parameters
        ----------
        probabilities
            Over all experts, ``[tokens, experts]``.
        like
            A tensor whose dtype the weights take; default that of the probabilities.
        """
        ids = torch.topk(probabilities, self.top_k, dim=-1).indices
        return self.weigh(probabilities, ids, like=like)

    def weigh(
        self, probabilities: torch.Tensor, ids: torch.Tensor, *, like: torch.Tensor | None = None
    ) -> Dispatch:
        """Return the dispatch of given ids, with the shares and weights that the family's rule gives them."""
        shares = probabilities.gather(-1, ids)
        if self.renormalises:
            shares = shares / shares.sum(-1, keepdim=True)
        weights = shares if self.scale is None else shares * self.scale.float()[ids]
        return Dispatch(probabilities, shares, weights if like is None else weights.to(like.dtype), ids)

    def write(self, dispatch: Dispatch, output: Output) -> Output:
        """Return a router output that says what `dispatch` says, in the form of `output`."""
        scores, _, _ = self._parts(output)
        said = dispatch.probabilities if are_probabilities(scores) else dispatch.probabilities.log()
        return said.to(scores.dtype), dispatch.weights, dispatch.ids

    def _parts(self, output: Any) -> Output:
        if isinstance(output, tuple) and len(output) == 3:
            scores, weights, ids = output
            shape = (scores.shape[0], self.top_k)
            if scores.shape[-1] == self.experts and weights.shape == ids.shape == shape:
                return scores, weights, ids
        raise BadTrace(
            f"{self.name} ({self.family}) did not return scores [tokens, {self.experts}], weights and ids "
            f"[tokens, {self.top_k}].",
            hint="This release of transformers has another form of router; install one from 5.15 to 5.23.",
        )


def are_probabilities(scores: torch.Tensor) -> bool:
    """Return whether scores ``[tokens, experts]`` are probabilities: none negative, rows that sum to 1."""
    if not len(scores):
        return True
    sums = scores.float().sum(-1)
    return bool((scores >= 0).all()) and bool(torch.allclose(sums, torch.ones_like(sums), atol=1e-2))


def routers(model: torch.nn.Module) -> list[Router]:
    """Return a model's routers, by layer.

    Gemma 4's, and those of other families in transformers that route the same way: Qwen3.5 and 3.6 MoE,
    Mixtral, OLMoE, gpt-oss.

    Raises
    ------
    LabError
        If it has none.
    """
    modules = dict(model.named_modules())
    found = [
        _router(name, modules) for name, module in modules.items() if _NAMES.match(type(module).__name__)
    ]
    if not found:
        raise LabError(
            f"{type(model).__name__} has no router that is known: it is a dense model, or of another family.",
            hint="Experts are in mini-moe and 26b-a4b; gemma_lab.catalog() lists what each model has.",
        )
    return sorted(found, key=lambda router: router.layer)


def has_experts(model: torch.nn.Module) -> bool:
    """Return whether a model has a router that is known."""
    return any(_NAMES.match(type(module).__name__) for module in model.modules())


def _router(name: str, modules: dict[str, torch.nn.Module]) -> Router:
    module: Any = modules[name]
    parent = name.rpartition(".")[0]
    layer = _LAYER.search(name)
    experts_module = modules.get(f"{parent}.experts")
    if layer is None or experts_module is None:
        raise LabError(
            f"The router {name} does not stand beside experts in a numbered layer.",
            hint="Only models that transformers' own classes build can be traced.",
        )
    branches = tuple(modules[f"{parent}.{part}"] for part in _BRANCHES if f"{parent}.{part}" in modules)
    top_k = getattr(module, "top_k", None) or module.config.top_k_experts
    experts = getattr(module, "num_experts", None) or module.config.num_experts
    return Router(
        name=name,
        layer=int(layer[1]),
        module=module,
        experts_module=experts_module,
        branches=branches if len(branches) == len(_BRANCHES) else (),
        experts=int(experts),
        top_k=int(top_k),
        family=type(module).__name__,
        renormalises=bool(getattr(module, "norm_topk_prob", True)),
    )

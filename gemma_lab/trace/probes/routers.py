"""Find a model's routers, and read and write their outputs.

transformers' routers return ``(scores, weights, ids)``: weights and ids of shape ``[tokens, top_k]`` as they
are handed to the experts, and scores ``[tokens, experts]`` that are probabilities in some families and
versions (Gemma 4 up to at least 5.24) and logits in others. The values themselves decide which it is.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch

from ...errors import BadTrace, LabError
from ...models.loading.restore import hooks_of

Output = tuple[torch.Tensor, torch.Tensor, torch.Tensor]

_LAYER = re.compile(r"(?:^|\.)layers\.(\d+)\.")
#: Class of router -> family. All of them weigh the chosen experts by a softmax over those alone, but for
#: OLMoE, whose ``norm_topk_prob`` says whether it does.
_FAMILIES = {
    "Gemma4TextRouter": "Gemma 4",
    "Qwen3_5MoeTopKRouter": "Qwen3.5 MoE",  # Qwen3.6 too: it has the same classes
    "MixtralTopKRouter": "Mixtral",
    "OlmoeTopKRouter": "OLMoE",
    "GptOssTopKRouter": "gpt-oss",
}
#: Number of tokens whose scores are tested for being probabilities; the probe checks the sums of all.
_LOOKED_AT = 16
_RELEASE = "This release of transformers has another form of router; install one from 5.15 to 5.24."


class RouterEdit:
    """Base class of forward hooks that change a router's choice: its ids need not be the likeliest ones."""


def is_edited(router: torch.nn.Module) -> bool:
    """Return whether a hook on a router module changes its choice."""
    return any(isinstance(hook, RouterEdit) for hook in hooks_of(router))


@dataclass(frozen=True)
class RouterOutput:
    """Decision of a router for some tokens.

    Attributes
    ----------
    probabilities
        Over all experts, float32 ``[tokens, experts]``.
    gate_weights
        Of the chosen experts, before the per-expert scale, float32 ``[tokens, top_k]``.
    weights
        As the experts' outputs are multiplied with, ``[tokens, top_k]``, in the model's dtype.
    ids
        Of the chosen experts, ``[tokens, top_k]``.
    """

    probabilities: torch.Tensor
    gate_weights: torch.Tensor
    weights: torch.Tensor
    ids: torch.Tensor


class Branches(NamedTuple):
    """The modules whose outputs a layer adds: the experts, and the dense branch beside them.

    Attributes
    ----------
    experts, dense
        For Gemma 4 the norms of each branch, for Qwen3.5 the experts and the shared expert.
    gate
        The sigmoid of its output multiplies the dense branch; None where nothing does.
    """

    experts: torch.nn.Module
    dense: torch.nn.Module
    gate: torch.nn.Module | None = None


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
        What is added up to the layer's feed-forward output; None where the experts are all of it.
    experts, top_k
        Number of experts, and experts per token.
    family
        ``"Gemma 4"``, ``"Qwen3.5 MoE"``, ``"Mixtral"``, ``"OLMoE"`` or ``"gpt-oss"``.
    renormalises
        Whether the chosen shares are made to sum to 1.
    """

    name: str
    layer: int
    module: torch.nn.Module
    experts_module: torch.nn.Module
    branches: Branches | None
    experts: int
    top_k: int
    family: str
    renormalises: bool
    # Whether the scores are probabilities; tested once, since the test waits for the device.
    _known: dict[str, bool] = field(default_factory=dict, repr=False)

    @property
    def scale(self) -> torch.Tensor | None:
        """The learned scale of every expert, shape ``[experts]``, where the family has one."""
        found: torch.Tensor | None = getattr(self.module, "per_expert_scale", None)
        if found is not None and found.is_meta:  # offloaded by accelerate, which keeps the values in its hook
            hook: Any = getattr(self.module, "_hf_hook", None)
            found = hook.weights_map["per_expert_scale"]
        return found

    def read(self, output: Any) -> RouterOutput:
        """Read a router's output.

        Raises
        ------
        BadTrace
            If it is not of the form described above.
        """
        scores, weights, ids = self._parts(output)
        given = scores.detach().float()
        probabilities = given if self._returns_probabilities(scores) else given.softmax(-1)
        # Where a scale was multiplied in, shares cannot be had from the weights: it may be zero.
        gate_weights = weights.detach().float() if self.scale is None else self._shares(probabilities, ids)
        return RouterOutput(probabilities, gate_weights, weights, ids)

    def dispatch(self, probabilities: torch.Tensor, *, like: torch.Tensor | None = None) -> RouterOutput:
        """Choose by the family's own rule: the top k, renormalised where it does that, scaled.

        Parameters
        ----------
        probabilities
            Over all experts, ``[tokens, experts]``.
        like
            A tensor whose dtype the weights take; default that of the probabilities.
        """
        return self.weigh(probabilities, torch.topk(probabilities, self.top_k, dim=-1).indices, like=like)

    def weigh(
        self, probabilities: torch.Tensor, ids: torch.Tensor, *, like: torch.Tensor | None = None
    ) -> RouterOutput:
        """Return the output for given ids, with the gate weights and weights of the family's rule."""
        gate_weights = self._shares(probabilities, ids)
        scale = self.scale
        weights = gate_weights if scale is None else gate_weights * scale.detach().to(ids.device).float()[ids]
        return RouterOutput(
            probabilities, gate_weights, weights if like is None else weights.to(like.dtype), ids
        )

    def write(self, dispatch: RouterOutput, output: Any) -> Output:
        """Convert a `RouterOutput` into the form of the router's own `output`.

        Logits stay float32: rounded to the model's dtype they would no longer give these weights.
        """
        scores, weights, ids = self._parts(output)
        probabilities = dispatch.probabilities
        written = probabilities if self._returns_probabilities(scores) else probabilities.log()
        return written, dispatch.weights.to(weights.dtype), dispatch.ids.to(ids.dtype)

    def _shares(self, probabilities: torch.Tensor, ids: torch.Tensor) -> torch.Tensor:
        chosen = probabilities.gather(-1, ids)
        return chosen / chosen.sum(-1, keepdim=True) if self.renormalises else chosen

    def _returns_probabilities(self, scores: torch.Tensor) -> bool:
        if "probabilities" not in self._known:
            some = scores[:_LOOKED_AT]
            answer = are_probabilities(some)
            if not len(some) or not bool(some.isfinite().all()):
                return answer  # nothing to learn from these
            self._known["probabilities"] = answer
        return self._known["probabilities"]

    def _parts(self, output: Any) -> Output:
        if isinstance(output, tuple) and len(output) == 3:
            scores, weights, ids = output
            shape = (scores.shape[0], self.top_k)
            if scores.shape[-1] == self.experts and weights.shape == ids.shape == shape:
                return scores, weights, ids
        raise BadTrace(
            f"{self.name} ({self.family}) did not return scores [tokens, {self.experts}], weights and ids "
            f"[tokens, {self.top_k}].",
            hint=_RELEASE,
        )


def are_probabilities(scores: torch.Tensor) -> bool:
    """Return whether scores ``[tokens, experts]`` are probabilities: none negative, rows that sum to 1."""
    if not len(scores):
        return True
    sums = scores.float().sum(-1)
    return bool((scores >= 0).all()) and bool(torch.allclose(sums, torch.ones_like(sums), atol=1e-2))


def routers(model: torch.nn.Module, *, missing_ok: bool = False) -> list[Router]:
    """Return a model's routers, by layer.

    Gemma 4's, and those of other families in transformers that route the same way: Qwen3.5 and 3.6 MoE,
    Mixtral, OLMoE, gpt-oss.

    Parameters
    ----------
    model
        A model of transformers.
    missing_ok
        Return an empty list for a model that has none.

    Raises
    ------
    LabError
        If it has none.
    """
    modules = dict(model.named_modules())
    found = [_router(name, modules) for name, module in modules.items() if _family(module) is not None]
    if not found and not missing_ok:
        raise LabError(
            f"{type(model).__name__} has no router that is known: it is a dense model, or of another family.",
            hint="Experts are in mini-moe and 26b-a4b; gemma_lab.catalog() lists what each model has.",
        )
    return sorted(found, key=lambda router: router.layer)


def _family(module: torch.nn.Module) -> str | None:
    names = (kind.__name__ for kind in type(module).__mro__)  # a class of one's own may derive from theirs
    return next((_FAMILIES[name] for name in names if name in _FAMILIES), None)


def _router(name: str, modules: dict[str, torch.nn.Module]) -> Router:
    module: Any = modules[name]
    parent = name.rpartition(".")[0]
    layer = _LAYER.search(name)
    experts_module = modules.get(f"{parent}.experts")
    if layer is None or experts_module is None:
        raise LabError(
            f"The router {name} is not beside experts in a numbered layer.",
            hint="Only models that transformers' own classes build can be traced.",
        )
    top_k = getattr(module, "top_k", None) or module.config.top_k_experts
    experts = getattr(module, "num_experts", None) or module.config.num_experts
    return Router(
        name=name,
        layer=int(layer[1]),
        module=module,
        experts_module=experts_module,
        branches=_branches(parent, modules),
        experts=int(experts),
        top_k=int(top_k),
        family=str(_family(module)),
        renormalises=bool(getattr(module, "norm_topk_prob", True)),
    )


def _branches(parent: str, modules: dict[str, torch.nn.Module]) -> Branches | None:
    def beside(name: str) -> torch.nn.Module | None:
        return modules.get(f"{parent}.{name}")

    # Gemma4TextDecoderLayer.forward: the dense branch is normalised by _1, the experts' sum by _2
    dense, experts = beside("post_feedforward_layernorm_1"), beside("post_feedforward_layernorm_2")
    if dense is not None and experts is not None:
        return Branches(experts, dense)
    # Qwen3_5MoeSparseMoeBlock.forward: experts + sigmoid(gate) * shared expert
    shared, gate, experts = beside("shared_expert"), beside("shared_expert_gate"), beside("experts")
    if shared is not None and gate is not None and experts is not None:
        return Branches(experts, shared, gate)
    return None

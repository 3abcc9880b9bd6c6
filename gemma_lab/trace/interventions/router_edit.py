"""Edit the choice of a router: boosted, ablated and forced experts.

For one token with router probabilities ``p``, ``k`` experts to choose, boosts ``b`` in nats, ablated experts
``A`` and forced experts ``F``:

1. probabilities ``p' = softmax(log p + b)``, and ``p'[A] = 0``;
2. experts: the ``k`` largest of ``p' + 2 [F]``: as no probability is above 1, the forced ones come first;
   they are listed in descending ``p'``, as a router lists them;
3. weights of these experts: by the family's own rule from ``p'``.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch

from ..probes.routers import Router, RouterEdit, RouterOutput
from .edit import LayerEdit

#: A probability that underflowed to 0 still ranks before an ablated expert.
_SMALLEST = torch.finfo(torch.float32).tiny


class EditRouter(RouterEdit):
    """The forward hook of one router under an edit."""

    def __init__(self, router: Router, edit: LayerEdit) -> None:
        self.router, self.edit = router, edit
        self._terms: dict[torch.device, _Terms] = {}

    def __call__(self, _module: torch.nn.Module, _args: Any, output: Any) -> Any:
        """Return the router's output under the edit, in its original form."""
        original = self.router.read(output)
        device = original.probabilities.device
        if device not in self._terms:
            self._terms[device] = _Terms.of(self.edit, self.router.experts, device)
        return self.router.write(edited_output(self.router, original, self._terms[device]), output)


@dataclass(frozen=True)
class _Terms:
    """An edit of one layer as tensors over its experts; None for a part it does not have.

    Of shape ``[experts]``; ablated ones may differ from row to row, ``[rows, experts]``, and, once the number
    of tokens is known, from token to token, ``[tokens, experts]``.
    """

    boost: torch.Tensor | None
    ablated: torch.Tensor | None
    forced: torch.Tensor | None

    @classmethod
    def of(cls, edit: LayerEdit, experts: int, device: torch.device) -> _Terms:
        def mask(listed: tuple[int, ...]) -> torch.Tensor | None:
            if not listed:
                return None
            marked = torch.zeros(experts, dtype=torch.bool)
            marked[list(listed)] = True
            return marked.to(device)

        boost = None
        if edit.boost:
            boost = torch.zeros(experts)
            for expert, nats in edit.boost:
                boost[expert] = nats
            boost = boost.to(device)
        return cls(boost, mask(edit.ablate), mask(edit.force))

    def to(self, device: torch.device) -> _Terms:
        """Return the terms on a device."""
        parts = (self.boost, self.ablated, self.forced)
        return _Terms(*(None if part is None else part.to(device) for part in parts))

    def for_tokens(self, tokens: int) -> _Terms:
        """Return terms of rows as terms of tokens, as many for each row."""
        if self.ablated is None:
            return self
        return replace(self, ablated=self.ablated.repeat_interleave(tokens // len(self.ablated), dim=0))


def terms_of_rows(ablated: torch.Tensor, forced: torch.Tensor | None) -> _Terms:
    """Return the edit that ablates other experts in every row of a batch, and forces the same ones in all.

    Parameters
    ----------
    ablated
        Whether each expert is ablated, ``[rows, experts]``.
    forced
        Whether each is forced, ``[experts]``; None if none is.
    """
    return _Terms(None, ablated, forced)


def edited_output(router: Router, original: RouterOutput, terms: _Terms) -> RouterOutput:
    """Return a router's output under an edit; the module docstring has the formulas."""
    scores = _edited_scores(original.probabilities, terms)
    ids = _choose(scores, router.top_k, terms.forced)
    if terms.boost is terms.ablated is None:  # forcing alone leaves the probabilities as they are
        probabilities = original.probabilities
    else:
        probabilities = scores / scores.sum(-1, keepdim=True)
    # A family that renormalises the chosen weights gets unnormalised scores: dividing them by their sum first
    # cancels out, and would change the last bit of tokens that the edit does not touch.
    edited = router.weigh(scores if router.renormalises else probabilities, ids, like=original.weights)
    weights, gate_weights = edited.weights, edited.gate_weights
    if terms.boost is None and (router.renormalises or terms.ablated is None):
        untouched = (ids == original.ids).all(-1, keepdim=True)
        weights = torch.where(untouched, original.weights, weights)
        gate_weights = torch.where(untouched, original.gate_weights, gate_weights)
    return RouterOutput(probabilities, gate_weights, weights, ids)


def _edited_scores(probabilities: torch.Tensor, terms: _Terms) -> torch.Tensor:
    """Step 1, not normalised after ablation: ``[tokens, experts]``."""
    scores = probabilities
    if terms.boost is not None:
        scores = (scores.clamp_min(_SMALLEST).log() + terms.boost).softmax(-1)
    scores = scores.clamp_min(_SMALLEST)
    return scores if terms.ablated is None else scores.masked_fill(terms.ablated, 0.0)


def _choose(scores: torch.Tensor, top_k: int, forced: torch.Tensor | None) -> torch.Tensor:
    """Step 2: the chosen experts, ``[tokens, top_k]``."""
    if forced is None:
        return scores.topk(top_k, dim=-1).indices
    ids = (scores + 2.0 * forced).topk(top_k, dim=-1).indices
    return ids.gather(-1, scores.gather(-1, ids).argsort(dim=-1, descending=True, stable=True))

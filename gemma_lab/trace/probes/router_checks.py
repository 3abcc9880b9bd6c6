"""Decisions of the routers in one forward pass, with the errors measured against them.

Nothing here waits for the device before `Decisions.gather`: one transfer per pass and device.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from ...errors import BadTrace
from .routers import Router, RouterOutput

Array = np.ndarray[Any, np.dtype[Any]]

_TINY = 1e-30
#: Between what is added up and what the rule gives, relative to a token's largest weight; in float32 the
#: order of additions is all that mismatch, coarser types add a few of their own steps.
_ABOUT = 1e-4


@dataclass
class Decision:
    """Decision of one router for the tokens of a pass, as tensors on its device.

    Attributes
    ----------
    ids, weights
        As returned, ``[tokens, top_k]``.
    gate_weights
        Before the per-expert scale, float32 ``[tokens, top_k]``.
    entropy
        Of all probabilities, in nats, ``[tokens]``.
    sum_error
        How far the probabilities are from summing to 1, ``[tokens]``.
    rule_error
        How far the weights are from the family's rule, relative to the largest, ``[tokens]``.
    topk_margin
        Margin by which an unselected expert outscores a selected one, ``[tokens]``; at most 0 if the
        top-k is right.
    mismatch
        1 where the experts were given something else, ``[tokens]``; None if they were given the same objects.
    """

    ids: torch.Tensor
    weights: torch.Tensor
    gate_weights: torch.Tensor
    entropy: torch.Tensor
    sum_error: torch.Tensor
    rule_error: torch.Tensor
    topk_margin: torch.Tensor
    mismatch: torch.Tensor | None = None

    @classmethod
    def of(cls, router: Router, output: RouterOutput, *, edited: bool) -> Decision:
        """Read a decision and measure its errors; edited ids need not be the likeliest."""
        odds, ids = output.probabilities, output.ids
        rule = router.weigh(odds, ids).weights
        largest = rule.abs().amax(-1).clamp_min(_TINY)
        rule_error = (rule - output.weights.detach().float()).abs().amax(-1)
        sum_error = (odds.sum(-1) - 1).abs()
        if edited:
            topk_margin = torch.zeros_like(sum_error)
        else:
            best_left = odds.scatter(-1, ids, 0.0).amax(-1)
            topk_margin = best_left - odds.gather(-1, ids).amin(-1)
        entropy = -torch.linalg.vecdot(odds, odds.clamp_min(_TINY).log_())
        return cls(
            ids=ids, weights=output.weights, gate_weights=output.gate_weights.detach(),
            entropy=entropy.clamp_min(0),  # rounding may leave it below when one expert is certain
            sum_error=sum_error, rule_error=rule_error / largest, topk_margin=topk_margin,
        )  # fmt: skip

    def compare(self, ids: Any, weights: Any) -> None:
        """Record whether the experts are called with other ids or weights than these."""
        if ids is self.ids and weights is self.weights:
            return
        shape = self.ids.shape
        if not (isinstance(ids, torch.Tensor) and isinstance(weights, torch.Tensor)) or not (
            ids.shape == weights.shape == shape
        ):
            self.mismatch = torch.ones(shape[0], device=self.ids.device)
            return
        same = (ids == self.ids) & (weights == self.weights)
        self.mismatch = (~same.all(-1)).float()

    def numbers(self, share: torch.Tensor) -> torch.Tensor:
        """Return everything but the ids as float32 ``[tokens, top_k + 6]``."""
        mismatch = torch.zeros_like(self.sum_error) if self.mismatch is None else self.mismatch
        single = (self.entropy, share, self.sum_error, self.rule_error, self.topk_margin, mismatch)
        return torch.cat([self.gate_weights, torch.stack(single, -1)], -1)


class Decisions:
    """The decisions of one pass, by index in a list of routers."""

    def __init__(self, routers: list[Router]) -> None:
        self._routers = routers
        self.decisions: dict[int, Decision] = {}
        self._sizes: dict[tuple[int, str], torch.Tensor] = {}

    def add(self, index: int, branch: str, output: torch.Tensor) -> None:
        """Record the norm of a branch's output for each token, or the gate of the dense branch."""
        if branch == "gate":
            self._sizes[index, branch] = output.detach().float().sigmoid().flatten()
        else:
            size = torch.linalg.vector_norm(output.detach(), dim=-1, dtype=torch.float32)
            self._sizes[index, branch] = size.flatten()

    def gather(self, tokens: int, real: Array | None) -> tuple[Array, Array, Array, Array]:
        """Check and return ids, gate weights, entropy and expert output fraction, ``[tokens, layers, …]``.

        Parameters
        ----------
        tokens
            How many the pass had, padding included.
        real
            Which of them are no padding, bool ``[tokens]``; None for all. Only these are returned.

        Raises
        ------
        BadTrace
            If a layer is missing, or its experts were called with other ids or weights than its router's.
        """
        for index, router in enumerate(self._routers):
            count = len(self.decisions[index].ids) if index in self.decisions else 0
            if count != tokens:
                raise BadTrace(
                    f"Layer {router.layer} routed {count:,} tokens of a pass of {tokens:,}.",
                    hint="Only complete forward passes of the model can be recorded.",
                )
        ids = self._collect({index: decision.ids for index, decision in self.decisions.items()})
        numbers = self._collect(
            {index: decision.numbers(self._share(index)) for index, decision in self.decisions.items()}
        )
        if real is not None:
            ids, numbers = ids[real], numbers[real]
        k = ids.shape[-1]
        self._check(numbers[..., k + 2 :])
        return ids, numbers[..., :k], numbers[..., k], numbers[..., k + 1]

    def _collect(self, parts: dict[int, torch.Tensor]) -> Array:
        """Return tensors of all layers as one array ``[tokens, layers, …]``, with one transfer per device."""
        groups: dict[torch.device, list[int]] = {}
        for index in range(len(self._routers)):
            groups.setdefault(parts[index].device, []).append(index)
        first = parts[0]
        if len(groups) == 1:
            return torch.stack([parts[index] for index in sorted(parts)], 1).cpu().numpy()
        joined = torch.empty((len(first), len(parts), *first.shape[1:]), dtype=first.dtype)
        for indices in groups.values():
            joined[:, indices] = torch.stack([parts[index] for index in indices], 1).cpu()
        return joined.numpy()

    def _share(self, index: int) -> torch.Tensor:
        """Return ‖experts‖ / (‖experts‖ + ‖dense‖), ``[tokens]``; 1 without a dense branch."""
        entropy = self.decisions[index].entropy
        if self._routers[index].branches is None:
            return torch.ones_like(entropy)
        experts, dense = self._sizes[index, "experts"], self._sizes[index, "dense"]
        dense = dense * self._sizes.get((index, "gate"), torch.ones_like(dense))
        return (experts / (experts + dense).clamp_min(_TINY)).to(entropy.device)

    def _check(self, errors: Array) -> None:
        """Raise `BadTrace` if an error ``[tokens, layers, 4]`` (in the order of `Decision`) is too large."""
        if not len(errors):
            return
        worst = errors.max(axis=0)  # NaN stays NaN, and is refused below
        for index, (router, found) in enumerate(zip(self._routers, worst.tolist(), strict=True)):
            sum_error, rule_error, topk_margin, mismatch = found
            step = torch.finfo(self.decisions[index].weights.dtype).eps
            layer = f"The router of layer {router.layer}"
            if not sum_error <= max(_ABOUT, 2 * step):
                raise BadTrace(
                    f"{layer} returned probabilities that are {sum_error:.3g} off a sum of 1.",
                    hint="If it is nan, the model overflowed: load it with dtype='bfloat16' or 'float32'.",
                )
            if mismatch:
                raise BadTrace(
                    f"The experts of layer {router.layer} were given other ids or weights than their router "
                    "returned.",
                    hint="Something between them changes the dispatch; detach it, or edit with lab.edit().",
                )
            if not rule_error <= max(_ABOUT, 4 * step):
                raise BadTrace(
                    f"{layer} weighs its experts up to {rule_error:.3g} off the rule of {router.family}.",
                    hint="This release of transformers routes in another way; install one from 5.15 to 5.24.",
                )
            if not topk_margin <= 0:
                raise BadTrace(
                    f"{layer} did not choose its {router.top_k} likeliest experts.",
                    hint="Something edits its choice; detach it, or edit with lab.edit().",
                )

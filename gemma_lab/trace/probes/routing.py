"""The routing probe: every router's decision, checked during the pass."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from ...errors import BadTrace
from ...models.loading.restore import RestoreStack
from ..records.routing import Precision, Routing, check_precision, encode_gate_weights, id_type
from .recorder import Pass
from .router_checks import Decision, Decisions
from .routers import Router, is_edited, routers
from .spill import SpillBuffer

Hook = Callable[..., None]

#: What the experts modules of transformers call their second and third argument.
_IDS, _WEIGHTS = ("top_k_index", "router_indices"), ("top_k_weights", "routing_weights")


class RoutingProbe:
    """Record ids and weights of every layer with experts, router entropy, and the experts' output fraction.

    For use with `Recorder`. What it records is verified in every pass and for every token: the experts
    receive the very ids and weights that the router returned, its probabilities sum to 1, the ids are the
    likeliest ones (unless an edit chose others), and the weights follow from the probabilities by the
    family's rule.

    Parameters
    ----------
    precision
        ``"compact"``, 28 bytes per token and layer for 8 of 128 experts, or ``"full"``, float32.
    spill_bytes
        Bytes to hold in memory; more goes to a temporary file that lives as long as its `Routing`.

    Raises
    ------
    BadTrace
        While recording, if what a router says and what its experts are given disagree.

    Examples
    --------
    >>> probe = RoutingProbe()
    >>> with Recorder(model, [probe]):
    ...     model.generate(**inputs)
    >>> probe.result()
    Routing(30 layers × 4,096 tokens, top-8 of 128 experts, compact: 28 B per token and layer)
    """

    def __init__(self, *, precision: Precision = "compact", spill_bytes: int = 512 * 2**20) -> None:
        check_precision(precision)
        self.precision: Precision = precision
        self.spill_bytes = spill_bytes
        self.routers: list[Router] = []
        self._buffers: list[SpillBuffer] = []  # one per sequence of the batch
        self._pass = Decisions([])

    def attach(self, model: torch.nn.Module, restore: RestoreStack) -> None:
        """Register hooks on routers, experts and the modules that add the two branches; see `Probe`."""
        self.routers = routers(model, missing_ok=True)
        self._pass = Decisions(self.routers)
        for index, router in enumerate(self.routers):
            restore.hook(router.module, self._keep_decision(index))
            restore.hook(router.experts_module, self._compare_inputs(index), before=True, with_kwargs=True)
            if router.branches is not None:
                for name, branch in router.branches._asdict().items():
                    if branch is not None:
                        restore.hook(branch, self._keep_branch(index, name))

    def begin(self, seen: Pass) -> None:
        """Start a pass; see `Probe`."""
        self._pass = Decisions(self.routers)
        if not self._buffers:
            self._buffers = [SpillBuffer(limit=self.spill_bytes // seen.rows) for _ in range(seen.rows)]

    def abandon(self) -> None:
        """Discard the current pass; see `Probe`."""
        self._pass = Decisions(self.routers)

    def end(self, seen: Pass) -> None:
        """Keep the decisions for the tokens of a pass; see `Probe`."""
        if not self.routers:
            return
        arrays = self._packed(seen)
        counts = [seen.length] * seen.rows if seen.real is None else seen.real.sum(-1).tolist()
        start = 0
        for buffer, count in zip(self._buffers, counts, strict=True):
            buffer.add({name: array[start : start + count] for name, array in arrays.items()})
            start += count

    def result(self, row: int = 0) -> Routing | None:
        """Return the routing of one sequence of the batch; None if the model has no experts.

        Raises
        ------
        BadTrace
            If nothing was recorded for it.
        """
        if not self.routers:
            return None
        if not 0 <= row < len(self._buffers) or not len(self._buffers[row]):
            raise BadTrace(
                f"Nothing was recorded for sequence {row} of {len(self._buffers)}.",
                hint="Run the model inside the recorder; result(row) counts the sequences of a batch from 0.",
            )
        buffer = self._buffers[row]
        return Routing(
            **buffer.result(),
            scale=np.stack([_scale(router) for router in self.routers]),
            layers=tuple(router.layer for router in self.routers),
            experts=self.routers[0].experts,
            precision=self.precision,
            keepalive=buffer.folder,
        )

    def _packed(self, seen: Pass) -> dict[str, Any]:
        """Return the real tokens of the pass as they are stored, ``[tokens, layers, …]``."""
        real = None if seen.real is None else seen.real.flatten().numpy()
        ids, gate_weights, entropy, expert_output_fraction = self._pass.gather(seen.rows * seen.length, real)
        small = np.float16 if self.precision == "compact" else np.float32
        return {
            "ids": ids.astype(id_type(self.routers[0].experts)),
            "stored_gate_weights": encode_gate_weights(gate_weights, self.precision),
            "entropy": entropy.astype(small),
            "expert_output_fraction": expert_output_fraction.astype(small),
        }

    def _keep_decision(self, index: int) -> Hook:
        router = self.routers[index]

        def hook(module: torch.nn.Module, _args: Any, output: Any) -> None:
            self._pass.decisions[index] = Decision.of(router, router.read(output), edited=is_edited(module))

        return hook

    def _compare_inputs(self, index: int) -> Hook:
        router = self.routers[index]

        def hook(_module: torch.nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            decision = self._pass.decisions.get(index)
            if decision is None:
                raise BadTrace(
                    f"The experts of layer {router.layer} ran, and their router did not.",
                    hint="Something replaces the router; remove it, or edit with lab.edit().",
                )
            decision.compare(_argument(_IDS, 1, args, kwargs), _argument(_WEIGHTS, 2, args, kwargs))

        return hook

    def _keep_branch(self, index: int, branch: str) -> Hook:
        def hook(_module: torch.nn.Module, _args: Any, output: torch.Tensor) -> None:
            self._pass.add(index, branch, output)

        return hook


def _argument(names: tuple[str, ...], index: int, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    return args[index] if len(args) > index else next((kwargs[n] for n in names if n in kwargs), None)


def _scale(router: Router) -> Any:
    if router.scale is None:
        return np.ones(router.experts, dtype=np.float32)
    return router.scale.detach().float().cpu().numpy()

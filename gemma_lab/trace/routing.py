"""The routing probe: what every router decides, checked where it is decided."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any

import numpy as np
import torch

from ..errors import BadTrace
from .dispatch import Precision, Routing
from .packing import id_type, pack12
from .recorder import Pass
from .routers import EDITED, Dispatch, Router, has_experts, routers
from .spool import Spool

#: What the experts modules of transformers call their second and third argument.
_IDS, _WEIGHTS = ("top_k_index", "selected_experts"), ("top_k_weights", "routing_weights")
_ABOUT = 2e-2  # bf16 weights keep three digits


class RoutingProbe:
    """Records ids and weights of every layer with experts, entropy, and the experts' share of the output.

    For use with `Recorder`. What it records is verified in every pass: the experts receive the very ids and
    weights that the router returned, the ids are the likeliest ones (unless an edit chose others), and the
    weights follow from the probabilities by the family's rule.

    Parameters
    ----------
    precision
        ``"compact"``, 24 bytes a token and layer for 8 of 128 experts, or ``"full"``, float32.
    spill_bytes
        Bytes to hold in memory; more goes to a temporary file that lives as long as its `Routing`.

    Raises
    ------
    BadTrace
        While recording, if what a router says and what its experts are given disagree.
    """

    def __init__(self, *, precision: Precision = "compact", spill_bytes: int = 512 * 2**20) -> None:
        self.precision: Precision = precision
        self.spill_bytes = spill_bytes
        self.routers: list[Router] = []
        self._spools: list[Spool] = []
        self._seen: dict[int, dict[str, torch.Tensor]] = {}  # by position in `routers`, of one pass

    def attach(self, model: torch.nn.Module, hooks: ExitStack) -> None:
        """Register hooks on routers, experts and the norms of both branches; see `Probe`."""
        self.routers = routers(model) if has_experts(model) else []
        for place, router in enumerate(self.routers):
            decided = router.module.register_forward_hook(self._decided(place))
            hooks.callback(decided.remove)
            given = router.experts_module.register_forward_pre_hook(self._given(place), with_kwargs=True)
            hooks.callback(given.remove)
            for name, branch in zip(("dense", "experts"), router.branches, strict=False):
                summed = branch.register_forward_hook(self._summed(place, name))
                hooks.callback(summed.remove)

    def begin(self, seen: Pass) -> None:
        """Start a pass; see `Probe`."""
        self._seen = {}
        while len(self._spools) < seen.rows:
            self._spools.append(Spool(limit=self.spill_bytes))

    def abandon(self) -> None:
        """Forget a pass; see `Probe`."""
        self._seen = {}

    def end(self, seen: Pass) -> None:
        """Keep what a pass decided for its real tokens; see `Probe`."""
        if not self.routers:
            return
        arrays = self._arrays(seen)
        self._seen = {}
        for row in range(seen.rows):
            where = slice(row * seen.length, (row + 1) * seen.length)
            kept = {name: array[where] for name, array in arrays.items()}
            if seen.real is not None:
                real = seen.real[row].cpu().numpy()
                kept = {name: array[real] for name, array in kept.items()}
            self._spools[row].add(kept)

    def result(self, row: int = 0) -> Routing | None:
        """Return the routing of one sequence of the batch; None if the model has no experts.

        Raises
        ------
        BadTrace
            If nothing was recorded for it.
        """
        if not self.routers:
            return None
        if row >= len(self._spools) or not len(self._spools[row]):
            raise BadTrace(
                f"Nothing was recorded for sequence {row}.", hint="Run the model inside the recorder."
            )
        spool = self._spools[row]
        found = {name: np.swapaxes(array, 0, 1) for name, array in spool.result().items()}
        if spool.folder is None:
            found = {name: np.ascontiguousarray(array) for name, array in found.items()}
        return Routing(
            **found,
            scale=np.stack([_scale(router) for router in self.routers]),
            layers=tuple(router.layer for router in self.routers),
            experts=self.routers[0].experts,
            precision=self.precision,
            keep=spool.folder,
        )

    def _decided(self, place: int) -> Any:
        router = self.routers[place]

        def hook(module: torch.nn.Module, _args: Any, output: Any) -> None:
            dispatch = router.read(output)
            _check(router, dispatch, edited=module in EDITED)
            entropy = torch.special.entr(dispatch.probabilities).sum(-1)
            self._seen[place] = {
                "ids": dispatch.ids, "weights": dispatch.weights, "shares": dispatch.shares,
                "entropy": entropy,
            }  # fmt: skip

        return hook

    def _given(self, place: int) -> Any:
        router = self.routers[place]

        def hook(_module: torch.nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            ids, weights = _argument(_IDS, 1, args, kwargs), _argument(_WEIGHTS, 2, args, kwargs)
            said = self._seen.get(place)
            if said is None or not (_same(ids, said["ids"]) and _same(weights, said["weights"])):
                raise BadTrace(
                    f"The experts of layer {router.layer} were given other ids or weights than its router "
                    "returned.",
                    hint="Something between them changes the dispatch; detach it, or edit with lab.edit().",
                )

        return hook

    def _summed(self, place: int, name: str) -> Any:
        def hook(_module: torch.nn.Module, _args: Any, output: torch.Tensor) -> None:
            size = torch.linalg.vector_norm(output, dim=-1, dtype=torch.float32)
            self._seen.setdefault(place, {})[name] = size.flatten()

        return hook

    def _arrays(self, seen: Pass) -> dict[str, Any]:
        """Return the pass as arrays of ``[rows * length, layers, …]``."""
        layers = [self._seen.get(place, {}) for place in range(len(self.routers))]
        for router, said in zip(self.routers, layers, strict=True):
            counted = len(said["ids"]) if "ids" in said else 0
            if counted != seen.rows * seen.length:
                raise BadTrace(
                    f"Layer {router.layer} routed {counted:,} tokens of a pass of {seen.rows} × "
                    f"{seen.length:,}.",
                    hint="Only whole forward passes of the model can be recorded.",
                )

        def stacked(name: str) -> Any:
            return torch.stack([said[name] for said in layers], 1).cpu()

        share = torch.stack([_share(said) for said in layers], 1).cpu().numpy()
        ids = stacked("ids").numpy().astype(id_type(self.routers[0].experts))
        shares, entropy = stacked("shares").float().numpy(), stacked("entropy").numpy()
        small = np.float16 if self.precision == "compact" else np.float32
        return {
            "ids": ids, "packed": pack12(shares) if self.precision == "compact" else shares,
            "entropy": entropy.astype(small), "experts_share": share.astype(small),
        }  # fmt: skip


def _check(router: Router, said: Dispatch, *, edited: bool) -> None:
    """Raise `BadTrace` unless weights and ids follow from the probabilities."""
    expected = router.weigh(said.probabilities, said.ids)
    off = (expected.weights - said.weights.float()).abs().max() if said.ids.numel() else torch.tensor(0.0)
    if float(off) > _ABOUT * max(1.0, float(expected.weights.abs().max())):
        raise BadTrace(
            f"The router of layer {router.layer} weighs its experts up to {float(off):.3g} off the rule of "
            f"{router.family}.",
            hint="This release of transformers routes in another way; install one from 5.15 to 5.23.",
        )
    if edited or not said.ids.numel():
        return
    least = said.probabilities.gather(-1, said.ids).amin(-1, keepdim=True)
    if bool(((said.probabilities > least).sum(-1) >= router.top_k).any()):
        raise BadTrace(
            f"The router of layer {router.layer} did not choose its {router.top_k} likeliest experts.",
            hint="Something edits its choice; detach it, or edit with lab.edit().",
        )


def _argument(names: tuple[str, ...], place: int, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    if len(args) > place:
        return args[place]
    return next((kwargs[name] for name in names if name in kwargs), None)


def _same(given: Any, said: torch.Tensor) -> bool:
    return given is said or (isinstance(given, torch.Tensor) and torch.equal(given, said))


def _share(said: dict[str, torch.Tensor]) -> torch.Tensor:
    if "dense" not in said:
        return torch.ones_like(said["entropy"])
    whole = said["dense"] + said["experts"]
    return torch.where(whole > 0, said["experts"] / whole, torch.zeros_like(whole))


def _scale(router: Router) -> Any:
    if router.scale is None:
        return np.ones(router.experts, dtype=np.float32)
    return router.scale.detach().float().cpu().numpy()

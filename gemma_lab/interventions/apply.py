"""Putting an edit in force for the length of a ``with`` block, and taking it out again exactly."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import reduce
from operator import or_
from types import TracebackType
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import torch

from ..trace.probes.attention.interface import attending
from ..trace.probes.model_modules import layers_of
from ..trace.probes.positions import PositionTracker
from ..trace.probes.routers import EDITED, Router, RouterOutput, has_experts, routers
from .activation_patching import patch_hooks
from .attention_mask import AttentionMasker
from .edit import Edit, LayerEdit
from .head_ablation import head_hooks, heads_of
from .validation import Anatomy

if TYPE_CHECKING:
    from ..models.loading.loaded_model import LoadedModel
    from ..trace.records.activations import Activations
    from .attention_knockout import AttentionKnockout
    from .parsing import Boosts, Experts, Heads
    from .patch import Patch

_SMALLEST = torch.finfo(torch.float32).tiny


class EditContext:
    """An edit, ready to be put in force: ``with Editing(model, edit) as merged: …``.

    Inside the block every forward pass of the model runs under the edit: a plain call, ``generate``,
    `Lab.chat`, `Lab.stream`, `Lab.trace`, with any experts implementation. What the experts are given, what
    is looked at and what layers give is really changed; probes see the edited dispatch, attention and
    residual stream. Blocks may be nested: the edits are merged (``outer |
    inner``), and entering gives the merged edit. Leaving takes every hook off again, whatever happened.

    One thread at a time edits a model; others wait at the start of their block, unless their edit is empty.
    With a `lock`, a generation that is under way is waited for before anything changes: it ends under the
    edit it began with. Gradients do not flow through an edited router.

    Parameters
    ----------
    model
        A model of transformers.
    edit
        What to change.
    lock
        Held by whoever runs the model, e.g. `Lab.lock`.
    name
        What errors call the model.

    Raises
    ------
    BadEdit
        At once if the model has not what the edit names; on entering if it contradicts an edit in force;
        while the model runs if a cut leaves a token without anything to look at.
    """

    def __init__(
        self,
        model: torch.nn.Module,
        edit: Edit,
        *,
        lock: threading.Lock | None = None,
        name: str = "the model",
    ) -> None:
        self.model, self.edit, self.name = model, edit, name
        self._lock = lock
        _check(model, edit, name)

    def __enter__(self) -> Edit:
        if not self.edit.layers:  # nothing of its own: it runs under what is in force
            return in_force(self.model)
        force = _force(self.model)
        _wait(force.owner)
        try:
            merged = force.merged | self.edit
            _check(self.model, merged, self.name)
            with self._pause():
                before = force.edits
                try:
                    force.put(self.model, (*before, self.edit))
                except BaseException:
                    force.put(self.model, before)
                    raise
        except BaseException:
            force.owner.release()
            raise
        return merged

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trail: TracebackType | None
    ) -> None:
        if not self.edit.layers:
            return
        force = _force(self.model)
        rest, done = force.without(self.edit), False
        try:
            with self._pause():
                force.put(self.model, rest)
                done = True
        finally:  # interrupted, in the wait for a generation or later: leave all the same
            try:
                if not done:
                    force.put(self.model, rest)
            finally:
                force.owner.release()

    def __repr__(self) -> str:
        return f"Editing({self.name}: {self.edit!r})"

    @contextmanager
    def _pause(self) -> Iterator[None]:
        """Keep the model from running."""
        if self._lock is None:
            yield
            return
        _wait(self._lock)
        try:
            yield
        finally:
            self._lock.release()


def editing(
    lab: LoadedModel,
    edit: Edit | None = None,
    *,
    ablate_experts: Experts = (),
    boost_experts: Boosts | None = None,
    force_experts: Experts = (),
    ablate_heads: Heads = (),
    knock_out_attention: AttentionKnockout | Iterable[AttentionKnockout] = (),
    patch: Patch | Activations | Iterable[Patch] = (),
) -> EditContext:
    """Return the context manager of an edit of a lab's model; `Lab.edit` calls this.

    Parameters
    ----------
    lab
        The loaded model.
    edit
        An edit to begin with.
    ablate_experts, boost_experts, force_experts, ablate_heads, knock_out_attention, patch
        As `Edit` takes them; merged into `edit`.

    Raises
    ------
    BadEdit
        If the model has not what they name.
    """
    more = Edit(
        ablate_experts=ablate_experts, boost_experts=boost_experts or {}, force_experts=force_experts,
        ablate_heads=ablate_heads, knock_out_attention=knock_out_attention, patch=patch,
    )  # fmt: skip
    return EditContext(lab.model, more if edit is None else edit | more, lock=lab.lock, name=lab.name)


def in_force(model: torch.nn.Module) -> Edit:
    """Return the edit that a model runs under now; an empty one outside every block."""
    return _force(model).merged


class _Force:
    """The edits in force on one model, outermost first, and their hooks."""

    def __init__(self) -> None:
        self.owner = threading.RLock()
        self.edits: tuple[Edit, ...] = ()
        self.handles: list[Any] = []

    @property
    def merged(self) -> Edit:
        return reduce(or_, self.edits, Edit())

    def without(self, edit: Edit) -> tuple[Edit, ...]:
        """Return the edits without the innermost that equals one."""
        last = len(self.edits) - 1 - self.edits[::-1].index(edit)
        return self.edits[:last] + self.edits[last + 1 :]

    def put(self, model: torch.nn.Module, edits: tuple[Edit, ...]) -> None:
        """Put these in force in the place of what was; may be repeated after an interrupt."""
        self.edits = edits
        while self.handles:
            self.handles[-1].remove()
            self.handles.pop()
        edit, found = self.merged, routers(model) if has_experts(model) else []
        for router in found:
            EDITED.discard(router.module)
            here = edit.at(router.layer)
            if here:
                EDITED.add(router.module)
                # first of all, so that probes, whenever they came, see what the experts will be given
                self.handles.append(router.module.register_forward_hook(_hook(router, here), prepend=True))
        self._put_attention(model, edit)

    def _put_attention(self, model: torch.nn.Module, edit: Edit) -> None:
        off = {layer: edit.listed("ablate_heads", layer) for layer in heads_of(model)}
        self.handles += head_hooks(model, {layer: heads for layer, heads in off.items() if heads})
        if not edit.knock_out_attention and not edit.patch:
            return
        passes = PositionTracker()
        self.handles += passes.attach(model)
        self.handles += patch_hooks(model, edit.patch, passes)
        if edit.knock_out_attention:
            self.handles.append(_Attending(model, AttentionMasker(edit.knock_out_attention, passes)))


class _Attending:
    """A watcher of a model's attention that is taken away like a hook."""

    def __init__(self, model: torch.nn.Module, watcher: AttentionMasker) -> None:
        self._leaving = ExitStack()
        self._leaving.enter_context(attending(model, [watcher]))

    def remove(self) -> None:
        self._leaving.close()  # a second time it does nothing


_FORCES: WeakKeyDictionary[torch.nn.Module, _Force] = WeakKeyDictionary()
_MAKING = threading.Lock()


def _force(model: torch.nn.Module) -> _Force:
    with _MAKING:
        return _FORCES.setdefault(model, _Force())


def _wait(lock: Any) -> None:
    while not lock.acquire(timeout=0.5):  # a timeout keeps Ctrl-C alive on Windows
        pass


def _check(model: torch.nn.Module, edit: Edit, name: str) -> None:
    if not edit.layers:
        return
    found = routers(model) if has_experts(model) else []
    width: Any = getattr(model, "config", None)
    anatomy = Anatomy(
        experts={router.layer: (router.experts, router.top_k) for router in found},
        heads={layer: heads.count for layer, heads in heads_of(model).items()},
        layers=len(layers_of(model)),
        width=0 if width is None else int(width.get_text_config().hidden_size),
    )
    edit.check(anatomy, model=name)


@dataclass(frozen=True)
class _Terms:
    """An edit of one layer as tensors over its experts, shape ``[experts]``; None where it says nothing."""

    boost: torch.Tensor | None
    ablated: torch.Tensor | None
    forced: torch.Tensor | None

    @classmethod
    def of(cls, edit: LayerEdit, experts: int, device: torch.device) -> _Terms:
        boost = torch.zeros(experts)
        for expert, nats in edit.boost:
            boost[expert] = nats
        masks = [torch.zeros(experts, dtype=torch.bool) for _ in range(2)]
        for mask, listed in zip(masks, (edit.ablate, edit.force), strict=True):
            mask[list(listed)] = True
        given = (bool(edit.boost), bool(edit.ablate), bool(edit.force))
        return cls(
            *(part.to(device) if there else None for part, there in zip((boost, *masks), given, strict=True))
        )


def _hook(router: Router, edit: LayerEdit) -> Callable[[torch.nn.Module, Any, Any], Any]:
    terms: dict[torch.device, _Terms] = {}

    def hook(_module: torch.nn.Module, _args: Any, output: Any) -> Any:
        said = router.read(output)
        device = said.probabilities.device
        if device not in terms:
            terms[device] = _Terms.of(edit, router.experts, device)
        return router.write(_edited(router, said, terms[device]), output)

    return hook


def _edited(router: Router, said: RouterOutput, terms: _Terms) -> RouterOutput:
    """Return what the router would have decided under the edit.

    Boosts and ablations act on the logits ``log p``: ``p' = softmax(log p + boost)``, with −∞ for what is
    ablated. The family's rule then weighs the top k of p', among which the forced ones take the last places.
    """
    # Not normalised: that cancels out in most families, and would change the last bit of untouched tokens.
    odds = said.probabilities
    if terms.boost is not None:
        odds = (odds.clamp_min(_SMALLEST).log() + terms.boost).softmax(-1)
    odds = odds.clamp_min(_SMALLEST)  # a probability that underflowed still comes before an ablated one
    if terms.ablated is not None:
        odds = odds.masked_fill(terms.ablated, 0.0)
    rank = odds if terms.forced is None else odds + 2.0 * terms.forced
    ids = rank.topk(router.top_k, dim=-1).indices
    if terms.forced is not None:
        ids = ids.gather(-1, odds.gather(-1, ids).argsort(dim=-1, descending=True, stable=True))
    whole = said.probabilities if terms.boost is terms.ablated is None else odds / odds.sum(-1, keepdim=True)
    made = router.weigh(odds if router.renormalises else whole, ids, like=said.weights)
    weights, gate_weights = made.weights, made.gate_weights
    if terms.boost is None and (router.renormalises or terms.ablated is None):
        same = (ids == said.ids).all(-1, keepdim=True)  # the edit does not touch these tokens
        weights, gate_weights = (
            torch.where(same, said.weights, weights),
            torch.where(same, said.gate_weights, gate_weights),
        )
    return RouterOutput(whole, gate_weights, weights, ids)

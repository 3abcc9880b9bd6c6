"""Apply an edit to a model within a ``with`` block, and restore the model exactly."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from functools import reduce
from operator import or_
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import torch

from ...checks import short_repr
from ...errors import BadEdit, LabError
from ...models.loading.restore import ModelLock, RestoreStack, interruptible
from ...models.loading.tensor_parallel import require_whole_heads
from ...models.loading.weights_digest import weights_digest
from ..probes.attention.interface import AttentionTaps
from ..probes.model_modules import layers_of
from ..probes.positions import PositionTracker
from ..probes.routers import routers
from .activation_addition import hook_steerings
from .activation_patching import hook_patches
from .attention_mask import AttentionMasker
from .edit import Edit
from .head_ablation import heads_of, hook_heads
from .router_edit import EditRouter
from .sites import site_modules
from .validation import Anatomy

if TYPE_CHECKING:
    from ...models.loading.loaded_model import LoadedModel
    from ..records.activations import Activations
    from .attention_knockout import AttentionKnockout
    from .direction import Direction
    from .parsing import Boosts, Experts, Heads
    from .patch import Patch
    from .steering import Steering


class EditContext(RestoreStack):
    """Context manager that applies an edit to a model: ``with EditContext(model, edit) as merged: …``.

    Inside the block every forward pass of the model runs under the edit: a plain call, ``generate``,
    `Lab.chat`, `Lab.stream`, `Lab.trace`, with any experts implementation. Dispatch, attention and layer
    outputs are really changed; probes record the edited ones. Blocks may be nested: the edits are merged
    (``outer | inner``), and entering returns the merged edit. Leaving always removes every hook.

    One thread at a time edits a model; others wait at the start of their block, unless their edit is empty.
    With a `lock`, entering waits for a generation in progress, which ends under the edit that it began with.
    Gradients do not flow through an edited router.

    Parameters
    ----------
    model
        A model of transformers.
    edit
        The edit.
    lock
        The lock that runs of the model hold, e.g. `LoadedModel.lock`.
    name
        The model's name in errors.

    Raises
    ------
    BadEdit
        At once if the model lacks what the edit names; on entering if it contradicts an active edit; while
        the model runs if an attention knockout leaves a token without any key.
    LabError
        On entering a context that is already open.
    """

    def __init__(
        self, model: torch.nn.Module, edit: Edit, *, lock: ModelLock | None = None, name: str = "the model"
    ) -> None:
        super().__init__()
        self.model, self.edit, self.name = model, edit, name
        self._lock = ModelLock() if lock is None else lock
        self._holder = object()  # of the lock
        self._open = False
        _check(model, edit, name)

    def __enter__(self) -> Edit:  # type: ignore[override]  # what is useful inside: the merged edit
        if self._open:
            raise LabError(
                "This edit is already applied by the same context.", hint="Make a second one to nest them."
            )
        return self.apply(self._activate)

    def __repr__(self) -> str:
        return f"EditContext({self.name}: {self.edit!r})"

    def _activate(self) -> Edit:
        super()._begin()
        if not self.edit.layers:  # it changes nothing: it runs under what is active, of any thread
            return active_edit(self.model)
        active, thread = _active_edits(self.model), threading.current_thread()
        self.undo(self._lock.drop, self._holder)
        self.undo(active.remove, self, self.model, thread)
        self._open = True
        active.thread.take(thread)
        merged = active.merged | self.edit
        _check(self.model, merged, self.name)
        self._wait_for_model()
        active.add(self, self.model)
        self._lock.drop(self._holder)
        self.callback(self._wait_for_model)  # the first step of leaving
        return merged

    @interruptible
    def _wait_for_model(self) -> None:
        # a lock that this thread holds itself was left by a block that an interrupt kept from ending
        self._lock.take(self._holder, until=self._lock.held_by_this_thread)

    def left(self) -> None:
        """Note that the edit is no longer active."""
        self._open = False


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
    steer: Steering | Direction | Iterable[Steering | Direction] = (),
) -> EditContext:
    """Return the context manager of an edit of a loaded model; `Lab.edit` calls this.

    Parameters
    ----------
    lab
        The loaded model.
    edit
        An edit to begin with.
    ablate_experts, boost_experts, force_experts, ablate_heads, knock_out_attention, patch, steer
        As `Edit` takes them; merged into `edit`.

    Raises
    ------
    BadEdit
        If the model lacks what they name.
    """
    if edit is not None and not isinstance(edit, Edit):
        raise BadEdit(
            f"edit is {short_repr(edit)}, not an Edit.",
            hint="Name what is changed: lab.edit(ablate_experts={4: [17]}).",
        )
    more = Edit(
        ablate_experts=ablate_experts,
        boost_experts=boost_experts or {},
        force_experts=force_experts,
        ablate_heads=ablate_heads,
        knock_out_attention=knock_out_attention,
        patch=patch,
        steer=steer,
    )
    return EditContext(lab.model, more if edit is None else edit | more, lock=lab.lock, name=lab.name)


def active_edit(model: torch.nn.Module) -> Edit:
    """Return the edit that is applied to a model now; an empty one outside every block."""
    return _active_edits(model).merged


class ActiveEdits:
    """The open contexts of one model, outermost first, and the hooks of their merged edit.

    `add` and `remove` bring the hooks in line with the contexts, so they may be repeated.

    Attributes
    ----------
    thread
        Held by the thread that edits.
    """

    def __init__(self) -> None:
        self.thread = ModelLock()
        self._contexts: list[EditContext] = []
        self._applied: tuple[EditContext, ...] | None = ()  # those whose hooks are on the model
        self._hooks = RestoreStack()

    @property
    def merged(self) -> Edit:
        """The merged edit of the open contexts."""
        return reduce(or_, (context.edit for context in self._contexts), Edit())

    def add(self, context: EditContext, model: torch.nn.Module) -> None:
        """Add a context and apply the merged edit."""
        self._contexts.append(context)
        self._update(model)

    def remove(self, context: EditContext, model: torch.nn.Module, thread: threading.Thread) -> None:
        """Remove a context, if it is among them, and let other threads edit after the last."""
        if context in self._contexts:
            self._contexts.remove(context)
        self._update(model)
        if not self._contexts:
            self.thread.drop(thread)
        context.left()

    def _update(self, model: torch.nn.Module) -> None:
        contexts = tuple(self._contexts)
        if contexts == self._applied:
            return
        self._applied = None  # until it is done
        self._hooks.put_back()
        _hook_edit(model, self.merged, self._hooks)
        self._applied = contexts


def _hook_edit(model: torch.nn.Module, edit: Edit, restore: RestoreStack) -> None:
    """Register the hooks of an edit; each comes before other hooks, so that probes record its effect."""
    for router in routers(model, missing_ok=True):
        layer_edit = edit.at(router.layer)
        if layer_edit:
            restore.hook(router.module, EditRouter(router, layer_edit), prepend=True)
    hook_heads(model, {layer: edit.listed("ablate_heads", layer) for layer in heads_of(model)}, restore)
    steered = [steering for steering in edit.steer if steering.strength]
    if not edit.knock_out_attention and not edit.patch and not steered:
        return
    positions = PositionTracker()
    positions.attach(model, restore)
    hook_steerings(model, steered, positions, restore)  # before patches, whose hooks then come first
    hook_patches(model, edit.patch, positions, restore)
    if edit.knock_out_attention:
        AttentionTaps(model, [AttentionMasker(edit.knock_out_attention, positions)]).attach(restore)


_ACTIVE: WeakKeyDictionary[torch.nn.Module, ActiveEdits] = WeakKeyDictionary()
_CREATING = threading.Lock()


def _active_edits(model: torch.nn.Module) -> ActiveEdits:
    with _CREATING:
        return _ACTIVE.setdefault(model, ActiveEdits())


def _check(model: torch.nn.Module, edit: Edit, name: str) -> None:
    if edit.ablate_heads or any(knockout.heads for knockout in edit.knock_out_attention):
        require_whole_heads(model, "An edit of heads")
    if not edit.layers:
        return
    config: Any = getattr(model, "config", None)
    anatomy = Anatomy(
        experts={router.layer: (router.experts, router.top_k) for router in routers(model, missing_ok=True)},
        heads={layer: heads.count for layer, heads in heads_of(model).items()},
        layers=len(layers_of(model)),
        width=0 if config is None else int(config.get_text_config().hidden_size),
        weights=weights_digest(model) if edit.steer else {},
        sites={patch.source.site: set(site_modules(model, patch.source.site)) for patch in edit.patch},
    )
    edit.check(anatomy, model=name)

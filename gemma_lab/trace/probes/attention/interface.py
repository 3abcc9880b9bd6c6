"""Observe a model's attention through transformers' attention interface; nothing is patched.

While `AttentionTaps` is open, the model's configurations name another function than SDPA or eager
attention. It lets the observers edit the mask, calls the stock function for the output, so that this is the
same bits, and shows the observers what went in and what came out. Contexts may be nested: all that are open
on one model share one `TappedAttention`, which is found through the model's own configuration.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from itertools import count
from typing import Any, Self, cast

import torch
from transformers import AttentionInterface
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS, AttentionMaskInterface
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from ....errors import LabError
from ....models.loading.compat_cache import cache_in
from ....models.loading.restore import RestoreStack
from ..kv_shared_layers import FullPrefill
from ..model_modules import attentions, decoder_of, vision_attentions
from .taps import AttentionTap, Tap

#: Implementations that are called with ordinary keys and masks; others hide them from observers.
_STOCK = ("sdpa", "eager")
#: Where a configuration keeps its choice; the public property would also write to sub-configurations.
_CHOICE = "_attn_implementation_internal"
_NUMBERS = count()


class AttentionTaps(RestoreStack):
    """Attach observers to a model's attention for the length of a ``with`` block.

    Works with every kind of run: a plain call, chunked prefill, ``generate``, padded batches. In nested
    blocks masks pass from the first observer to the last, then every observer sees the call.

    Parameters
    ----------
    model
        A model of transformers whose decoder uses the attention interface.
    observers
        Their methods run in the thread that runs the model.
    towers
        Whether the vision tower is observed too. (The audio tower computes its attention itself: see
        `gemma_lab.trace.probes.attention.towers`.)

    Raises
    ------
    LabError
        On entering, if the model uses neither SDPA nor eager attention, or has no decoder whose attention can
        be observed.

    Notes
    -----
    Transformers from 5.23 on runs the KV-shared layers of a prompt for the last token only. `on_attention`
    then gets every query, through `FullPrefill`; the output stays that of the last token alone.
    """

    def __init__(
        self, model: torch.nn.Module, observers: Sequence[AttentionTap], *, towers: bool = False
    ) -> None:
        super().__init__()
        self.model, self.observers = model, tuple(observers)
        self.prefill: FullPrefill | None = None
        #: The observed modules: layer, and tower (None is the decoder).
        self.modules: dict[torch.nn.Module, tuple[int, str | None]] = {
            module: (layer, None) for layer, module in attentions(model).items()
        }
        if towers:
            self.modules |= {
                module: (layer, "vision") for layer, module in enumerate(vision_attentions(model))
            }

    def _begin(self) -> Self:
        super()._begin()
        self.attach(self)
        return self

    @property
    def configs(self) -> list[Any]:
        """The configurations that name the attention function, or by which masks are made."""
        decoder = decoder_of(self.model)
        configs = [module.config for module in (decoder, *self.modules) if hasattr(module, "config")]
        top: Any = getattr(self.model, "config", None)
        return configs if top is None else [*configs, top.get_text_config()]

    def attach(self, restore: RestoreStack) -> None:
        """Attach the observers until `restore` is closed; entering this context does it for the block."""
        if not self.modules:
            raise LabError(
                f"{type(self.model).__name__} has no layers whose attention can be observed.",
                hint="It needs a decoder of transformers that uses the attention interface.",
            )
        shared = TappedAttention.of(self.configs)
        restore.undo(shared.detach, self)
        shared.attach(self)
        restore.hook(decoder_of(self.model), self._keep_all_rows, before=True, with_kwargs=True)
        if any(type(observer).on_attention is not AttentionTap.on_attention for observer in self.observers):
            self.prefill = FullPrefill(self.model)
            self.prefill.attach(restore)

    def _keep_all_rows(
        self, _decoder: torch.nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]] | None:
        """Keep all rows in the two cases in which a decoder does so for the attention named "sdpa".

        Where it has no mask and more than one row to keep, or a static cache, the rows that are left would
        no longer be causal (``_maybe_slice_kv_shared_inputs``). ``logits_to_keep=0`` keeps all.
        """
        kept = kwargs.get("logits_to_keep")
        static = getattr(cache_in(kwargs), "is_compileable", False)
        if type(kept) is int and (kept > 1 or static):
            return args, {**kwargs, "logits_to_keep": 0}
        return None


class TappedAttention:
    """The attention function and mask function of one model while any `AttentionTaps` is open on it.

    Everything is derived from the list of open contexts, so attaching and detaching may be repeated.
    """

    def __init__(self) -> None:
        self.name = f"gemma_lab_{next(_NUMBERS)}"
        self.taps: dict[torch.nn.Module, Tap] = {}
        self._open: list[AttentionTaps] = []
        self._stock: dict[int, tuple[Any, str]] = {}  # id of a configuration: it, and what it named before

    @classmethod
    def of(cls, configs: Sequence[Any]) -> TappedAttention:
        """Return the one that any of the configurations names, or a new one."""
        for config in configs:
            function = ALL_ATTENTION_FUNCTIONS.get(getattr(config, _CHOICE, None))
            owner = getattr(function, "__self__", None)
            if isinstance(owner, cls):
                return owner
        return cls()

    def attach(self, context: AttentionTaps) -> None:
        """Attach the observers of a context."""
        for config in context.configs:
            choice = getattr(config, _CHOICE)
            if choice != self.name and choice not in _STOCK:
                raise LabError(
                    f"Attention computed by {choice!r} cannot be observed: its keys and masks are hidden.",
                    hint='Load the model with attn_implementation="sdpa".',
                )
            if choice != self.name:
                self._stock[id(config)] = config, choice
        self._open.append(context)
        self._update()

    def detach(self, context: AttentionTaps) -> None:
        """Detach the observers of a context, if they are attached."""
        if context in self._open:
            self._open.remove(context)
        self._update()

    def _update(self) -> None:
        taps: dict[torch.nn.Module, Tap] = {}
        for context in self._open:
            for module, (layer, tower) in context.modules.items():
                if module not in taps:
                    name = self._stock[id(cast(Any, module).config)][1]
                    taps[module] = Tap(layer, tower, _stock_function(module, name))
                taps[module].observers += context.observers
        if taps:
            AttentionInterface.register(self.name, self._attend)
            AttentionMaskInterface.register(self.name, self._mask)
            self.taps = taps
        used = {id(config) for context in self._open for config in context.configs}
        for key, (config, choice) in self._stock.items():
            setattr(config, _CHOICE, self.name if key in used else choice)
        if not taps:  # last of all: a configuration must not name a function that is gone
            for interface in (AttentionInterface, AttentionMaskInterface):
                vars(interface)["_global_mapping"].pop(self.name, None)
            self.taps = taps

    def _attend(
        self,
        module: torch.nn.Module,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        attention_mask: torch.Tensor | None,
        **kwargs: Any,
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Compute a module's attention; transformers calls this."""
        tap = self.taps[module]
        if tap.tower is None:
            for observer in tap.observers:
                attention_mask = observer.edit_mask(tap.layer, module, query, key, attention_mask)
        output: tuple[torch.Tensor, torch.Tensor | None] = tap.stock(
            module, query, key, value, attention_mask, **kwargs
        )
        muted = any(context.prefill is not None and context.prefill.mutes(module) for context in self._open)
        if not muted:
            _show(tap, module, query, key, value, attention_mask, kwargs, output[0])
        return output

    def _mask(self, *args: Any, config: Any = None, **kwargs: Any) -> Any:
        """Make the mask that the configuration's own implementation makes; transformers calls this."""
        choice = self._stock[id(config)][1] if id(config) in self._stock else "sdpa"
        make: Any = ALL_MASK_ATTENTION_FUNCTIONS[choice]
        return make(*args, config=config, **kwargs)


def _show(
    tap: Tap,
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    mask: torch.Tensor | None,
    kwargs: dict[str, Any],
    output: torch.Tensor,
) -> None:
    scaling = kwargs.get("scaling")
    with torch.no_grad():
        for observer in tap.observers:
            if tap.tower is not None:
                observer.on_tower_attention(tap.tower, tap.layer, module, query, key, mask, scaling)
                continue
            causal = kwargs.get("is_causal")
            causal = getattr(module, "is_causal", True) if causal is None else causal
            causal = bool(causal) and mask is None and query.shape[2] > 1
            positions = kwargs.get("position_ids")
            observer.on_attention(tap.layer, module, query, key, value, mask, causal, positions, scaling)
            observer.on_output(tap.layer, output)


def _stock_function(module: torch.nn.Module, name: str) -> Callable[..., Any]:
    # each model's file defines its own eager function
    eager = getattr(sys.modules[type(module).__module__], "eager_attention_forward", None)
    function = eager if name == "eager" else ALL_ATTENTION_FUNCTIONS[name]
    if function is None:
        raise LabError(
            f"{type(module).__name__} has no eager attention that could be observed.",
            hint='Load the model with attn_implementation="sdpa".',
        )
    return cast(Callable[..., Any], function)

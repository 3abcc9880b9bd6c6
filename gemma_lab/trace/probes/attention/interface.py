"""Standing beside a model's attention: its own function computes the output, watchers see what went in.

One function and one mask function, both called ``"gemma_lab"``, are registered with transformers. While
`attending` is open the model's configuration names them; they hand every call on to what it named before
(SDPA or eager), so outputs are the same bits. Nothing is patched.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any, cast
from weakref import WeakKeyDictionary

import torch
from transformers import AttentionInterface
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS, AttentionMaskInterface
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from ....errors import LabError
from ....models.loading.compat_cache import cache_in
from ..model_modules import attentions, decoder_of, vision_attentions

#: What the registered functions are called in a model's configuration.
NAME = "gemma_lab"
#: Implementations that see ordinary keys and masks; the others hide them from any function beside them.
_STOCK = ("sdpa", "eager")
#: Where a configuration keeps its choice; the property over it would write to sub-configurations, too.
_HELD = "_attn_implementation_internal"


class AttentionTap:
    """Something that stands beside a model's attention; every method may be left as it is."""

    def mask(
        self, layer: int, module: torch.nn.Module, query: torch.Tensor, key: torch.Tensor,
        mask: torch.Tensor | None,
    ) -> torch.Tensor | None:  # fmt: skip
        """Return the mask that a layer of the decoder is to use, before it runs.

        Parameters
        ----------
        layer, module
            The layer's index and its attention module.
        query, key
            ``[batch, heads, queries, dim]`` and ``[batch, kv_heads, keys, dim]``, rotated, as the layer uses
            them.
        mask
            ``[batch, 1 or heads, queries, keys]``: boolean (True is seen) or added to the scores. None: query
            *i* sees the keys up to *i*, a single query all of them. Return a new tensor to change it: layers
            share theirs.
        """
        del layer, module, query, key
        return mask

    def see(
        self, layer: int, module: torch.nn.Module, query: torch.Tensor, key: torch.Tensor,
        value: torch.Tensor, mask: torch.Tensor | None, is_causal: bool, positions: torch.Tensor | None,
        scaling: float | None,
    ) -> None:  # fmt: skip
        """Take in what a layer of the decoder attended with, after it ran; change none of it.

        Parameters
        ----------
        is_causal
            Without a mask, whether query *i* saw only keys up to *i*.
        positions
            Position ids of the queries as far as the model passed them on, ``[1 or batch, queries]``.
        scaling
            Of the scores; None: one over the root of the head dimension.
        """

    def saw(self, layer: int, output: torch.Tensor) -> None:
        """Take in what the layer that was seen last attended to: ``[batch, queries, heads, dim]``."""

    def see_tower(
        self, tower: str, layer: int, module: torch.nn.Module, query: torch.Tensor, key: torch.Tensor,
        mask: torch.Tensor | None, scaling: float | None,
    ) -> None:  # fmt: skip
        """Take in what a layer of a tower (``"vision"``) attended with, as `see` does."""


@dataclass
class Tap:
    """Where watchers sit: one attention module.

    Attributes
    ----------
    layer, tower
        Which layer it is, and of which tower; None is the decoder.
    stock
        The function that computes the output.
    watchers
        Those that watch it now.
    closed
        Above 0 while what it computes is not to be seen (see `gemma_lab.trace.probes.kv_shared_layers`).
    """

    layer: int
    tower: str | None
    stock: Callable[..., Any]
    watchers: list[AttentionTap] = field(default_factory=list)
    closed: int = 0


#: attention module -> its seat, while it is attended
SEATS: WeakKeyDictionary[torch.nn.Module, Tap] = WeakKeyDictionary()
#: id of a configuration -> it, the implementation it named, and how many attend
_SWITCHED: dict[int, tuple[Any, str, int]] = {}


@contextmanager
def attending(
    model: torch.nn.Module, watchers: Sequence[AttentionTap], *, towers: bool = False
) -> Iterator[None]:
    """Let watchers stand beside a model's attention; on leaving, the model is as it was.

    Blocks may be nested: every watcher sees every call, the masks are handed from the first to
    the last. Works in whatever runs the model: a plain call, chunked prefill, ``generate``, padded batches.

    Parameters
    ----------
    model
        A model of transformers whose decoder uses its attention interface.
    watchers
        Who watches; their methods run in the model's own thread.
    towers
        Whether the vision tower is watched too. (The audio tower computes its attention itself: see
        `gemma_lab.trace.probes.towers`.)

    Raises
    ------
    LabError
        If the model uses neither SDPA nor eager attention, or has no decoder whose attention can be watched.

    Notes
    -----
    Transformers from 5.23 on reads the KV-shared tail of a prompt for the last token only. `see` then gets
    every query, by `gemma_lab.trace.probes.kv_shared_layers`; the output stays that of the last token alone.
    """
    from ..kv_shared_layers import full_prefill

    with ExitStack() as leaving:
        decoder = decoder_of(model)
        places: dict[torch.nn.Module, tuple[int, str | None]] = {
            module: (layer, None) for layer, module in attentions(model).items()
        }
        if towers:
            places |= {module: (layer, "vision") for layer, module in enumerate(vision_attentions(model))}
        if not places:
            raise LabError(
                f"{type(model).__name__} has no layers whose attention can be watched.",
                hint="It needs a decoder of transformers that uses the attention interface.",
            )
        switched = _switch([decoder, *places], model, leaving)
        for module, (layer, tower) in places.items():
            _sit(module, layer, tower, switched[id(cast(Any, module).config)], watchers, leaving)
        leaving.callback(decoder.register_forward_pre_hook(_unsliced, with_kwargs=True).remove)
        if any(type(watcher).see is not AttentionTap.see for watcher in watchers):
            leaving.enter_context(full_prefill(model))
        yield


def _switch(modules: Sequence[torch.nn.Module], model: torch.nn.Module, leaving: ExitStack) -> dict[int, str]:
    """Make every configuration name the registered functions; return what each named before, by its id."""
    configs = [module.config for module in modules if hasattr(module, "config")]
    top: Any = getattr(model, "config", None)
    if top is not None:
        configs.append(top.get_text_config())  # what a multimodal body makes its masks by
    before: dict[int, str] = {}
    for config in cast(list[Any], configs):
        if id(config) in before:
            continue
        _, stock, count = _SWITCHED.get(id(config), (config, getattr(config, _HELD), 0))
        if stock not in _STOCK:
            raise LabError(
                f"Attention computed by {stock!r} cannot be watched: it has no ordinary keys and masks.",
                hint='Load the model with attn_implementation="sdpa".',
            )
        before[id(config)] = stock
        _SWITCHED[id(config)] = config, stock, count + 1
        setattr(config, _HELD, NAME)
        leaving.callback(_switch_back, config)
    return before


def _switch_back(config: Any) -> None:
    _, stock, count = _SWITCHED.pop(id(config))
    if count > 1:
        _SWITCHED[id(config)] = config, stock, count - 1
    else:
        setattr(config, _HELD, stock)


def _sit(
    module: torch.nn.Module, layer: int, tower: str | None, stock: str, watchers: Sequence[AttentionTap],
    leaving: ExitStack,
) -> None:  # fmt: skip
    seat = SEATS.get(module)
    if seat is None:
        seat = SEATS[module] = Tap(layer, tower, _stock(module, stock))
    seat.watchers.extend(watchers)
    leaving.callback(_rise, module, watchers)


def _rise(module: torch.nn.Module, watchers: Sequence[AttentionTap]) -> None:
    seat = SEATS[module]
    for watcher in watchers:
        del seat.watchers[next(n for n, other in enumerate(seat.watchers) if other is watcher)]
    if not seat.watchers:
        del SEATS[module]


def _stock(module: torch.nn.Module, name: str) -> Callable[..., Any]:
    # the eager function belongs to each model's own file
    own = getattr(sys.modules[type(module).__module__], "eager_attention_forward", None)
    found = own if name == "eager" else ALL_ATTENTION_FUNCTIONS[name]
    if found is None:
        raise LabError(
            f"{type(module).__name__} has no eager attention that could be watched.",
            hint='Load the model with attn_implementation="sdpa".',
        )
    return cast(Callable[..., Any], found)


def _unsliced(
    _decoder: torch.nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]] | None:
    """Keep all rows in the two cases in which stock SDPA does, which a decoder knows by the name "sdpa".

    Where it has no mask and more than one row to keep, or a static cache, the rows that are left would no
    longer be causal (``_maybe_slice_kv_shared_inputs``). ``logits_to_keep=0`` keeps all.
    """
    kept = kwargs.get("logits_to_keep")
    static = getattr(cache_in(kwargs), "is_compileable", False)
    if type(kept) is int and (kept > 1 or static):
        return args, {**kwargs, "logits_to_keep": 0}
    return None


def _attend(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    **kwargs: Any,
) -> tuple[torch.Tensor, torch.Tensor | None]:
    seat = SEATS.get(module)
    if seat is None:
        raise LabError(
            f"{type(module).__name__} was asked for the attention of gemma_lab, and nobody attends.",
            hint='Use trace.attending.attending(), or set_attn_implementation("sdpa").',
        )
    if seat.tower is None:
        for watcher in seat.watchers:
            attention_mask = watcher.mask(seat.layer, module, query, key, attention_mask)
    output: tuple[torch.Tensor, torch.Tensor | None] = seat.stock(
        module, query, key, value, attention_mask, **kwargs
    )
    if not seat.closed:
        _show(seat, module, query, key, value, attention_mask, kwargs, output[0])
    return output


def _show(
    seat: Tap, module: torch.nn.Module, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor,
    mask: torch.Tensor | None, kwargs: dict[str, Any], output: torch.Tensor,
) -> None:  # fmt: skip
    scaling = kwargs.get("scaling")
    with torch.no_grad():
        for watcher in seat.watchers:
            if seat.tower is not None:
                watcher.see_tower(seat.tower, seat.layer, module, query, key, mask, scaling)
                continue
            causal = kwargs.get("is_causal")
            causal = getattr(module, "is_causal", True) if causal is None else causal
            causal = bool(causal) and mask is None and query.shape[2] > 1
            positions = kwargs.get("position_ids")
            watcher.see(seat.layer, module, query, key, value, mask, causal, positions, scaling)
            watcher.saw(seat.layer, output)


def _mask(*args: Any, config: Any = None, **kwargs: Any) -> Any:
    """Make the mask that the configuration's own implementation would."""
    stock = _SWITCHED[id(config)][1] if id(config) in _SWITCHED else "sdpa"
    make: Any = ALL_MASK_ATTENTION_FUNCTIONS[stock]
    return make(*args, config=config, **kwargs)


AttentionInterface.register(NAME, _attend)
AttentionMaskInterface.register(NAME, _mask)

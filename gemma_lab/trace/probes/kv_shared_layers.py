"""Reading a KV-shared tail for every row of a prompt, where the model itself reads it for the last one.

The last layers of Gemma 4 E2B and E4B reuse keys and values of earlier ones, so in ``generate`` transformers
from 5.23 on drops all rows but the last before them. A trace covers every row. Reading all of them at once
would round the last one otherwise (a product of many rows is summed in another order than one of a single
row), and the logits with it. So the model's own pass is left as it is, and when it has left its last layer,
the tail is run once more, beside it, on all rows. The keys and values are those of the pass; nothing is
written to the cache. It costs what the rows of the tail cost.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, cast
from weakref import WeakKeyDictionary

import torch

from ...errors import BadTrace
from .model_modules import decoder_of


@contextmanager
def full_prefill(model: torch.nn.Module) -> Iterator[None]:
    """Let hooks and watchers on a KV-shared tail meet every row of a prompt; blocks may be nested.

    Hooks on the layers of the tail first get the model's own call, with the last row alone, then one with
    all rows. Watchers of `gemma_lab.trace.probes.attention.interface` see the second only. A model without such a tail, or
    with an older transformers, is read as ever.

    Raises
    ------
    BadTrace
        While the model runs, if something changes what the tail is given behind this reader's back.
    """
    decoder = decoder_of(model)
    first = getattr(decoder, "first_kv_shared_layer_idx", None)
    layers: Any = getattr(decoder, "layers", ())
    if first is None or not 0 < first < len(layers) or decoder in _READ:
        yield
        return
    with ExitStack() as hooks:
        _READ[decoder] = tail = _Tail(decoder, first)
        hooks.callback(_READ.pop, decoder)
        hooks.callback(tail.forget)
        tail.attach(hooks)
        yield


class _Tail:
    """Keeps what one pass of a decoder gave its layers, and runs the last ones again."""

    def __init__(self, decoder: torch.nn.Module, first: int) -> None:
        self.decoder: Any = decoder
        self.first = first
        self._kinds: list[str] = list(cast(Any, decoder).config.layer_types)
        self._again = False
        self.forget()

    def attach(self, hooks: ExitStack) -> None:
        layers = list(self.decoder.layers)
        own = self.decoder.register_forward_pre_hook(self._begin, with_kwargs=True)
        hooks.callback(own.remove)
        for number, layer in enumerate(layers):
            hooks.callback(layer.register_forward_pre_hook(self._given(number), with_kwargs=True).remove)
        hooks.callback(layers[self.first - 1].register_forward_hook(self._entered).remove)
        hooks.callback(layers[-1].register_forward_hook(self._left).remove)

    def forget(self) -> None:
        """Forget the pass: it is over, or ended in an exception."""
        for seat in getattr(self, "_shut", ()):
            seat.closed -= 1
        self._shut: list[Any] = []
        self._inputs: dict[str, Any] = {}
        self._calls: dict[int, dict[str, Any]] = {}  # keywords of each layer's call
        self._hidden: torch.Tensor | None = None  # all rows, as they enter the tail
        self._sliced = False

    def _begin(self, decoder: torch.nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self.forget()
        named = inspect.signature(decoder.forward).bind_partial(*args).arguments if args else {}
        self._inputs = {**named, **kwargs}

    def _given(self, number: int) -> Any:
        def hook(_layer: torch.nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            if self._again:
                return
            self._calls[number] = kwargs
            if number == self.first:
                self._compare(args[0] if args else kwargs["hidden_states"])

        return hook

    def _entered(self, _layer: torch.nn.Module, _args: Any, output: Any) -> None:
        self._hidden = output[0] if isinstance(output, tuple) else output

    def _compare(self, given: torch.Tensor) -> None:
        """Find out whether the tail gets fewer rows than there are; then its watchers wait for the rest."""
        from .attention.interface import SEATS

        whole = self._hidden
        if whole is None or given.shape[1] == whole.shape[1]:
            return
        if not torch.equal(given, whole[:, -given.shape[1] :]):
            raise BadTrace(
                f"Layer {self.first} got other rows than layer {self.first - 1} returned.",
                hint="A hook changes them; register it before the recorder is opened, or use lab.edit().",
            )
        self._sliced = True
        for layer in self.decoder.layers[self.first :]:
            for module in layer.modules():
                seat = SEATS.get(module)
                if seat is not None:
                    seat.closed += 1
                    self._shut.append(seat)

    def _left(self, _layer: torch.nn.Module, _args: Any, _output: Any) -> None:
        if self._again:
            return
        if self._sliced:
            for seat in self._shut:
                seat.closed -= 1
            self._shut = []
            self._again = True
            try:
                self._run_again()
            finally:
                self._again = False
        self.forget()

    @torch.no_grad()
    def _run_again(self) -> None:
        hidden = cast(torch.Tensor, self._hidden)
        whole = {self._kinds[number]: self._calls[number] for number in range(self.first)}
        extra = self._per_layer()
        for number in range(self.first, len(self.decoder.layers)):
            theirs = whole[self._kinds[number]]
            given = self._calls[number] | {
                name: theirs[name] for name in ("attention_mask", "position_embeddings")
            }
            part = None if extra is None else extra[:, :, number, :]
            output = self.decoder.layers[number](hidden, part, **given)
            hidden = output[0] if isinstance(output, tuple) else output

    def _per_layer(self) -> torch.Tensor | None:
        """Return what per-layer embeddings give all rows, by the decoder's own methods; None without them."""
        decoder, given = self.decoder, self._inputs
        if not getattr(decoder, "hidden_size_per_layer_input", 0):
            return None
        ids, embeds = given.get("input_ids"), given.get("inputs_embeds")
        embeds = decoder.embed_tokens(ids) if embeds is None else embeds
        rows = given.get("per_layer_inputs")
        rows = decoder.get_per_layer_inputs(ids, embeds) if rows is None else rows
        return cast(torch.Tensor, decoder.project_per_layer_inputs(embeds, rows))


#: decoder -> who reads its tail now
_READ: WeakKeyDictionary[torch.nn.Module, _Tail] = WeakKeyDictionary()

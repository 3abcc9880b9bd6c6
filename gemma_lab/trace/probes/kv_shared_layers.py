"""Run the KV-shared layers of a prompt on every row, where the model runs them on the last row only.

The last layers of Gemma 4 E2B and E4B reuse keys and values of earlier ones, so in ``generate`` transformers
from 5.23 on drops all rows but the last before them. A trace covers every row. Computing all of them at once
would round the last one differently (a product of many rows is summed in another order than one of a single
row), and the logits with it. So the model's own pass is left as it is, and after its last layer the KV-shared
layers are run once more, beside it, on all rows. The keys and values are those of the pass; nothing is
written to the cache. It costs what the rows of these layers cost.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import partial
from typing import Any, Self, cast

import torch

from ...errors import BadTrace
from ...models.loading.restore import RestoreStack, hooks_of, remove_hook
from .model_modules import decoder_of


class FullPrefill(RestoreStack):
    """Run hooks and observers of KV-shared layers on every row of a prompt; blocks may be nested.

    Hooks on these layers first run in the model's own call, with the last row only, then in one with all
    rows. Observers of `AttentionTaps` run in the second only. Models without such layers, and older releases
    of transformers, are not affected.

    Raises
    ------
    BadTrace
        While the model runs, if something else changes the hidden states between the layers.
    """

    def __init__(self, model: torch.nn.Module) -> None:
        super().__init__()
        self._decoder = decoder_of(model)
        self._replay: _Replay | None = None

    def _begin(self) -> Self:
        super()._begin()
        self.attach(self)
        return self

    def mutes(self, module: torch.nn.Module) -> bool:
        """Return whether a module runs on the last row now, and will run again on all."""
        return self._replay is not None and module in self._replay.muted

    def attach(self, restore: RestoreStack) -> None:
        """Run every row until `restore` is closed; entering this context does it for the block."""
        first = getattr(self._decoder, "first_kv_shared_layer_idx", None)
        layers: Any = getattr(self._decoder, "layers", ())
        if first is None or not 0 < first < len(layers):
            return
        replay = next((found for found in map(_owner, hooks_of(self._decoder)) if found), None)
        self._replay = _Replay(self._decoder, first) if replay is None else replay
        restore.undo(self._replay.leave, self)
        self._replay.join(self)


class _Replay:
    """Keep the inputs of a decoder's layers in one pass, and run the KV-shared ones again."""

    def __init__(self, decoder: torch.nn.Module, first: int) -> None:
        self.decoder: Any = decoder
        self.first = first
        self.muted: frozenset[torch.nn.Module] = frozenset()
        self._users: list[FullPrefill] = []
        self._kinds: list[str] = list(cast(Any, decoder).config.layer_types)
        self._running = False
        layers = list(cast(Any, decoder).layers)
        #: Module, hook, and whether it comes before the module's forward.
        self._hooks: list[tuple[torch.nn.Module, Callable[..., Any], bool]] = [
            (decoder, self._begin, True),
            *((layer, partial(self._keep_call, number), True) for number, layer in enumerate(layers)),
            (layers[first - 1], self._keep_hidden, False),
            (layers[-1], self._finish, False),
        ]
        self._forget()

    def join(self, user: FullPrefill) -> None:
        """Attach the hooks with the first user."""
        self._users.append(user)
        if len(self._users) == 1:
            for module, hook, before in self._hooks:
                if before:
                    module.register_forward_pre_hook(hook, with_kwargs=True)
                else:
                    module.register_forward_hook(hook)

    def leave(self, user: FullPrefill) -> None:
        """Remove the hooks with the last user; may be repeated."""
        if user in self._users:
            self._users.remove(user)
        if not self._users:
            for module, hook, _ in self._hooks:
                remove_hook(module, hook)
            self._forget()

    def _forget(self) -> None:
        """Forget the pass: it is over, or ended in an exception."""
        self.muted = frozenset()
        self._inputs: dict[str, Any] = {}
        self._calls: dict[int, dict[str, Any]] = {}  # keyword arguments of each layer's call
        self._hidden: torch.Tensor | None = None  # all rows of the input of the first KV-shared layer

    def _begin(self, decoder: torch.nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self._forget()
        self._running = False
        named = inspect.signature(decoder.forward).bind_partial(*args).arguments if args else {}
        self._inputs = {**named, **kwargs}

    def _keep_call(
        self, number: int, _layer: torch.nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> None:
        if self._running:
            return
        self._calls[number] = kwargs
        if number == self.first:
            self._check_rows(args[0] if args else kwargs["hidden_states"])

    def _keep_hidden(self, _layer: torch.nn.Module, _args: Any, output: Any) -> None:
        self._hidden = output[0] if isinstance(output, tuple) else output

    def _check_rows(self, hidden: torch.Tensor) -> None:
        """Mute the observers of the layers if their input has fewer rows than the prompt."""
        complete = self._hidden
        if complete is None or hidden.shape[1] == complete.shape[1]:
            return
        if not torch.equal(hidden, complete[:, -hidden.shape[1] :]):
            raise BadTrace(
                f"Layer {self.first} got other rows than layer {self.first - 1} returned.",
                hint="A hook changes them; register it before the recorder is opened, or use lab.edit().",
            )
        layers = self.decoder.layers[self.first :]
        self.muted = frozenset(module for layer in layers for module in layer.modules())

    def _finish(self, _layer: torch.nn.Module, _args: Any, _output: Any) -> None:
        if self._running:
            return
        if self.muted:
            self.muted = frozenset()
            self._running = True
            try:
                self._run_again()
            finally:
                self._running = False
        self._forget()

    @torch.no_grad()
    def _run_again(self) -> None:
        hidden = cast(torch.Tensor, self._hidden)
        # masks and rotary embeddings of all rows, from an earlier layer of the same kind
        complete = {self._kinds[number]: self._calls[number] for number in range(self.first)}
        per_layer = self._per_layer_inputs()
        for number in range(self.first, len(self.decoder.layers)):
            same_kind = complete[self._kinds[number]]
            call = self._calls[number] | {
                name: same_kind[name] for name in ("attention_mask", "position_embeddings")
            }
            part = None if per_layer is None else per_layer[:, :, number, :]
            output = self.decoder.layers[number](hidden, part, **call)
            hidden = output[0] if isinstance(output, tuple) else output

    def _per_layer_inputs(self) -> torch.Tensor | None:
        """Return the per-layer embeddings of all rows, by the decoder's own methods; None without them."""
        decoder, inputs = self.decoder, self._inputs
        if not getattr(decoder, "hidden_size_per_layer_input", 0):
            return None
        ids, embeds = inputs.get("input_ids"), inputs.get("inputs_embeds")
        embeds = decoder.embed_tokens(ids) if embeds is None else embeds
        rows = inputs.get("per_layer_inputs")
        rows = decoder.get_per_layer_inputs(ids, embeds) if rows is None else rows
        return cast(torch.Tensor, decoder.project_per_layer_inputs(embeds, rows))


def _owner(hook: Callable[..., Any]) -> _Replay | None:
    owner = getattr(hook, "__self__", None)
    return owner if isinstance(owner, _Replay) else None

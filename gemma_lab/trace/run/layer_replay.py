"""Run the layers of a decoder again from any layer and token on, for many changed copies of one run at once.

A change of the residual stream after layer l, at tokens from t on, leaves everything before both unchanged.
So a run is recorded once (`record_run`): what each layer was given, keys and values, masks. `LayerReplay`
then calls the model's own layers from l on, on the tokens from t on, with a batch of changed inputs; keys and
values of the tokens before t are those of the recorded run. Only layers, final norm and head are run, and all
of them are the model's own modules.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from transformers import DynamicCache

from ...errors import BadTrace, LabError
from ...models.loading.compat_cache import cache_name
from ...models.loading.restore import RestoreStack
from ..probes.model_modules import decoder_of, layers_of
from ..probes.readout import Readout

Pair = tuple[torch.Tensor, torch.Tensor]

_CACHE_NAMES = ("cache", "past_key_values")
#: Logits normalised at once, 32 MiB in float64, and the least rows of them: each block reads the output head.
_BLOCK, _LEAST_ROWS = 1 << 22, 64


@dataclass(eq=False)
class LayerCall:
    """What one layer was called with.

    Attributes
    ----------
    hidden
        Its input, ``[1, tokens, width]``.
    args, kwargs
        The other arguments.
    shared
        Keys and values that earlier layers had stored for KV-shared ones by then.
    """

    hidden: torch.Tensor
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    shared: dict[Any, Pair]


@dataclass(eq=False)
class RecordedRun:
    """One pass over one sequence, with what is needed to run its layers again.

    Attributes
    ----------
    calls
        One per layer.
    output
        The last layer's output, ``[1, tokens, width]``.
    keys
        Keys and values of all tokens by layer, as attention read them; missing for KV-shared layers.
    """

    calls: list[LayerCall]
    output: torch.Tensor
    keys: dict[int, Pair] = field(default_factory=dict)

    @property
    def length(self) -> int:
        """Number of tokens."""
        return int(self.output.shape[1])

    def after(self, layer: int) -> torch.Tensor:
        """Return the residual stream after a layer, ``[tokens, width]``; -1 is the input of the first."""
        if layer == len(self.calls) - 1:
            return self.output[0]
        return self.calls[layer + 1].hidden[0]


class RecordingCache(DynamicCache):  # type: ignore[misc,unused-ignore]
    """A cache that keeps the keys and values of every token, of local layers too."""

    def __init__(self, config: Any) -> None:
        super().__init__(config=config)
        self.kept: dict[int, Pair] = {}

    def update(self, key_states: Any, value_states: Any, layer_idx: int, *args: Any, **kwargs: Any) -> Any:
        """Add the keys and values of a layer; see ``transformers.Cache.update``."""
        result = super().update(key_states, value_states, layer_idx, *args, **kwargs)
        self.kept[layer_idx] = result
        return result


class PrefixCache:
    """Stands for the cache of a layer: puts the recorded keys and values of a prefix before those given."""

    def __init__(self, keys: Mapping[int, Pair], prefix: int) -> None:
        self.keys, self.prefix = keys, prefix

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, layer_idx: int, *_: Any, **__: Any
    ) -> Pair:
        """Return keys and values of prefix and given tokens, ``[batch, heads, tokens, dim]``."""
        if not self.prefix:
            return key_states, value_states
        rows = len(key_states)
        keys, values = (
            torch.cat([kept[:, :, : self.prefix].expand(rows, -1, -1, -1), given], dim=2)
            for kept, given in zip(self.keys[layer_idx], (key_states, value_states), strict=True)
        )
        return keys, values


def record_run(
    model: Any,
    inputs: Mapping[str, Any],
    *,
    change_embeds: Callable[[torch.Tensor], torch.Tensor] | None = None,
) -> RecordedRun:
    """Read a sequence in one pass and record what its layers are called with.

    Parameters
    ----------
    model
        A model of transformers with layers in a decoder.
    inputs
        Its keyword arguments, for one sequence.
    change_embeds
        Takes the input embeddings of the decoder, ``[1, tokens, width]``, and returns others; only where the
        decoder is given embeddings, as in models with towers.

    Raises
    ------
    LabError
        If a layer was not called, or on fewer tokens than the sequence has.
    """
    layers, decoder = layers_of(model), decoder_of(model)
    cache = RecordingCache(model.config.get_text_config())
    seen: dict[int, LayerCall] = {}
    last: list[torch.Tensor] = []

    def keep(number: int) -> Any:
        def hook(_module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            hidden, rest = (args[0], args[1:]) if args else (kwargs["hidden_states"], ())
            shared = kwargs.get("shared_kv_states")
            stored = {} if shared is None else dict(shared)
            named = {name: value for name, value in kwargs.items() if name != "hidden_states"}
            seen[number] = LayerCall(hidden.detach(), rest, named, stored)

        return hook

    def keep_output(_module: Any, _args: Any, output: Any) -> None:
        # a copy: what follows may work in place
        last.append((output[0] if isinstance(output, tuple) else output).detach().clone())

    def replace(_module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        assert change_embeds is not None
        embeds = change_embeds(kwargs["inputs_embeds"])
        return args, {**kwargs, "inputs_embeds": embeds, "logits_to_keep": 0}

    def keep_all(_module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        return args, {**kwargs, "logits_to_keep": 0}

    with RestoreStack() as restore, torch.no_grad():
        # KV-shared layers are run on every token, the head on the last one only
        restore.hook(decoder, keep_all if change_embeds is None else replace, before=True, with_kwargs=True)
        for number, layer in enumerate(layers):
            restore.hook(layer, keep(number), before=True, with_kwargs=True)
        restore.hook(layers[-1], keep_output)
        model(**inputs, **{cache_name(model): cache}, use_cache=True, logits_to_keep=1)
    if len(seen) != len(layers) or not last:
        raise LabError(
            f"{len(seen)} of {len(layers)} layers of {type(model).__name__} were called.",
            hint="Only decoders of transformers whose layers are called one after the other can be patched.",
        )
    run = RecordedRun([seen[number] for number in range(len(layers))], last[-1], cache.kept)
    wrong = [number for number, call in enumerate(run.calls) if call.hidden.shape[1] != run.length]
    if wrong or run.length != inputs["input_ids"].shape[1]:
        raise BadTrace(
            f"Layer {wrong[0] if wrong else len(layers) - 1} was read on fewer tokens than the sequence has.",
            hint="Something else drops rows; take other hooks off the model.",
        )
    return run


class LayerReplay:
    """Runs the layers after a change, for a batch of changed copies of a recorded run.

    Parameters
    ----------
    model
        The model.
    run
        The unchanged run.
    suffix
        Whether layers may be run on the last tokens only. Default: where the model's masks can be cut.
    """

    def __init__(self, model: Any, run: RecordedRun, *, suffix: bool | None = None) -> None:
        self.model, self.run = model, run
        self._layers = layers_of(model)
        self._readout = Readout(model)
        config = model.config.get_text_config()
        self._implementation = str(getattr(config, "_attn_implementation", "sdpa"))
        family = str(getattr(config, "model_type", ""))
        can_cut = family.startswith("gemma4") and self._masks_can_be_cut()
        self.suffix = can_cut if suffix is None else suffix and can_cut
        self._first_reader = self._first_readers() if self.suffix else []

    def first_affected(self, token: int) -> int:
        """Return the first token that a change of a token can reach; 0 where layers run on all tokens.

        The token itself, or the start of the bidirectional block that it lies in.
        """
        if not self.suffix:
            return 0
        start = token
        while (lower := min(self._first_reader[start:])) < start:
            start = lower
        return start

    def hidden(self, layer: int, rows: int, start: int) -> torch.Tensor:
        """Return copies of the input of a layer from a token on, ``[rows, tokens - start, width]``."""
        return self.run.after(layer - 1)[None, start:].repeat(rows, 1, 1)

    def layers(self, hidden: torch.Tensor, layer: int, start: int) -> torch.Tensor:
        """Run the layers from one on.

        Parameters
        ----------
        hidden
            The layer's input for the tokens from `start` on, ``[rows, tokens - start, width]``.
        layer
            The first layer to run; the number of layers for none.
        start
            The first token; those before it are as in the recorded run.

        Returns
        -------
        torch.Tensor
            The last layer's output, of the same shape.
        """
        rows = len(hidden)
        cache = PrefixCache(self.run.keys, start)
        shared: Any = None
        for number in range(layer, len(self._layers)):
            call = self.run.calls[number]
            kwargs = dict(call.kwargs)
            if "shared_kv_states" in kwargs:
                if shared is None:
                    shared = type(kwargs["shared_kv_states"])()
                    for name, pair in call.shared.items():
                        shared[name] = tuple(part.expand(rows, -1, -1, -1) for part in pair)
                kwargs["shared_kv_states"] = shared
            for name in _CACHE_NAMES:
                if kwargs.get(name) is not None:
                    kwargs[name] = cache
            self._cut(kwargs, start)
            rest = tuple(_from_token(part, start) for part in call.args)
            output = self._layers[number](hidden, *rest, **kwargs)
            hidden = output[0] if isinstance(output, tuple) else output
        return hidden

    def logits(self, hidden: torch.Tensor) -> torch.Tensor:
        """Return the logits of rows of the last layer's output, soft cap applied, ``[…, vocabulary]``."""
        return self._readout.logits(hidden)

    def logprobs(self, hidden: torch.Tensor, answer: Sequence[int]) -> torch.Tensor:
        """Return the log-probability of each token of an answer, ``[rows, tokens of the answer]``.

        See `score`.
        """
        return self.score(hidden, answer)[0]

    def score(self, hidden: torch.Tensor, answer: Sequence[int]) -> tuple[torch.Tensor, torch.Tensor]:
        """Return log-probabilities of an answer's tokens, and whether they are the most probable ones.

        Both are ``[rows, tokens of the answer]``.

        Parameters
        ----------
        hidden
            The last layer's output where the tokens are predicted, ``[rows, tokens of the answer, width]``.
        answer
            Token ids.
        """
        rows, count, width = hidden.shape
        wanted = torch.tensor(list(answer)).repeat(rows)
        logprobs, first = [], []
        block = max(_LEAST_ROWS, _BLOCK // self._readout.vocabulary)
        flat = hidden.reshape(-1, width)
        for start in range(0, len(flat), block):
            logits = self.logits(flat[start : start + block])
            # a sum over the vocabulary in float32 would be off by more than the patch's own rounding
            logits = logits.double() if logits.device.type != "mps" else logits.float()
            ids = wanted[start : start + block].to(logits.device)
            logprobs.append(logits.gather(1, ids[:, None])[:, 0] - logits.logsumexp(-1))
            first.append(logits.argmax(-1) == ids)
        return torch.cat(logprobs).reshape(rows, count), torch.cat(first).reshape(rows, count)

    def _cut(self, kwargs: dict[str, Any], start: int) -> None:
        """Cut masks and positions to the tokens from `start` on."""
        if not start:
            return
        embeddings = kwargs.get("position_embeddings")
        if embeddings is not None:
            kwargs["position_embeddings"] = tuple(part[:, start:] for part in embeddings)
        if kwargs.get("position_ids") is not None:
            kwargs["position_ids"] = kwargs["position_ids"][:, start:]
        mask = kwargs.get("attention_mask")
        if mask is not None:
            kwargs["attention_mask"] = mask[:, :, start:]
        else:  # causal, which the kernel can no longer tell from the shapes
            total, device = self.run.length, self.run.output.device
            queries = torch.arange(start, total, device=device)[:, None]
            kwargs["attention_mask"] = (torch.arange(total, device=device) <= queries)[None, None]

    def _masks(self) -> list[Any]:
        found = {
            id(call.kwargs.get("attention_mask")): call.kwargs.get("attention_mask")
            for call in self.run.calls
        }
        return list(found.values())

    def _masks_can_be_cut(self) -> bool:
        shape = (self.run.length, self.run.length)
        return all(
            self._implementation == "sdpa"
            if mask is None
            else isinstance(mask, torch.Tensor) and mask.dim() == 4 and mask.shape[-2:] == shape
            for mask in self._masks()
        )

    def _first_readers(self) -> list[int]:
        """Return, by token, the first token that attends to it in any layer."""
        total = self.run.length
        first = torch.arange(total)
        for mask in self._masks():
            if mask is not None:
                seen = mask[0, 0] if mask.dtype == torch.bool else mask[0, 0] == 0
                first = torch.minimum(first, seen.to(torch.uint8).argmax(0).cpu())
        return [int(each) for each in first]


def _from_token(value: Any, start: int) -> Any:
    """Return a tensor ``[1, tokens, …]`` from a token on, anything else unchanged."""
    return value[:, start:] if start and isinstance(value, torch.Tensor) and value.dim() >= 3 else value

"""Split a logit over the components that write to the residual stream; `Lab.attribute_logit` calls this.

A layer of Gemma 4 returns ``s · (h + N(attention) + N(feed-forward) + N(per-layer input))``: h is its input,
s the layer's scalar, each N an RMS norm after the branch. In a layer with experts the feed-forward part is
``N(N₁(dense) + N₂(Σ experts))``. With the scale of every norm held at its value in this run, each branch is a
sum of vectors that pass linear maps: outputs of heads through ``o_proj``, weighted outputs of experts. So is
the last layer's output, and its product with the rows of the output head after the final norm.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

import torch

from ...checks import short_repr, whole_number
from ...errors import BadTrace, LabError
from ...models.chat.chunked_prefill import read
from ...models.chat.logits_processors import check_finite
from ...models.chat.options import PromptOptions, check_keywords
from ...models.chat.out_of_memory import raise_on_out_of_memory
from ...models.chat.prefill_plan import plan
from ...models.chat.prompt import prepare
from ...models.chat.request_builder import build_request
from ...models.loading.restore import RestoreStack, restores_model
from ...models.tokens.vocabulary import Vocabulary
from ..interventions.head_ablation import heads_of
from ..probes.model_modules import decoder_of, layers_of
from ..probes.routers import routers
from ..records.logit_attribution import ComponentKind, LogitAttribution, LogitComponent

if TYPE_CHECKING:
    from typing import Unpack

    from ...models.chat.request_builder import PromptLike
    from ...models.loading.loaded_model import LoadedModel

#: Rounding that is accepted, relative to the size of what is summed: some steps of the dtype per addition.
_SLACK = {torch.float64: 1e-9, torch.float32: 1e-4, torch.bfloat16: 0.05, torch.float16: 0.01}
#: Components whose logits are computed at once with a packed output head.
_BLOCK = 32


@restores_model
def attribute_logit(
    model: LoadedModel,
    prompt: PromptLike = None,
    *,
    answer: str | int | None = None,
    against: str | int | None = None,
    **options: Unpack[PromptOptions],
) -> LogitAttribution:
    """Split the logit of a token over the model's components; see `Lab.attribute_logit`."""
    check_keywords("attribute_logit", options, PromptOptions, also=("answer", "against"))
    _check_family(model)
    prepared = prepare(model, build_request(model, prompt, options, max_new_tokens=0))
    tokens = [
        None if each is None else _token_id(model, name, each)
        for name, each in (("answer", answer), ("against", against))
    ]
    rows = _LastRows(model.model)
    with RestoreStack() as restore, raise_on_out_of_memory(model.device, lambda: "while the prompt was read"):
        restore.hold(model.lock)
        rows.attach(restore)
        logits = read(model, prepared, plan(model, prepared).stops).logits[0, -1]
        rows.recording = False
        check_finite(logits, len(prepared.ids) - 1)
        token = int(logits.argmax()) if tokens[0] is None else tokens[0]
        other = tokens[1]
        parts = _split(model.model, rows)
        wanted = [token] if other is None else [token, other]
        shares = _logits_of(model.model, rows, [part.vector for part in parts], wanted)
    before = _before_cap(model.model, rows, wanted)
    own = [float(logits[each]) for each in wanted]
    _check_cap(model, before, own)
    values = shares[:, 0] if other is None else shares[:, 0] - shares[:, 1]
    whole = before[0] if other is None else before[0] - before[1]
    rounding = whole - float(values.sum())
    _check_sum(model, rounding, float(values.abs().sum()), whole)
    names = Vocabulary(model.tokenizer)
    return LogitAttribution(
        model=model.name,
        token_id=token,
        token=names.name(token),
        against_id=other,
        against=None if other is None else names.name(other),
        position=len(prepared.ids) - 1,
        components=tuple(
            LogitComponent(part.kind, part.layer, part.index, float(value))
            for part, value in zip(parts, values, strict=True)
        ),
        before_cap=whole,
        logit=own[0] if other is None else own[0] - own[1],
        cap=_cap(model.model),
        rounding=rounding,
    )


@dataclass(eq=False)
class _Part:
    """One component, with what it adds to the last layer's output, float64 ``[width]``."""

    kind: ComponentKind
    layer: int
    index: int
    vector: torch.Tensor


@dataclass(eq=False)
class _LastRows:
    """What the modules of every layer were given and returned at the last token."""

    model: Any
    recording: bool = True
    seen: dict[tuple[int, str], torch.Tensor] = field(default_factory=dict)
    calls: dict[int, tuple[torch.Tensor, ...]] = field(default_factory=dict)

    def attach(self, restore: RestoreStack) -> None:
        """Register the hooks; `restore` removes them."""
        for number, layer in enumerate(layers_of(self.model)):
            named: Any = layer
            restore.hook(layer, partial(self._given, number, "layer"), before=True, with_kwargs=True)
            restore.hook(layer, partial(self._returned, number, "layer"))
            for name in _NORMS:
                if (norm := getattr(named, name, None)) is not None:
                    restore.hook(norm, partial(self._given, number, name), before=True, with_kwargs=True)
                    restore.hook(norm, partial(self._returned, number, name))
            output = heads_of(self.model)[number].output
            restore.hook(output, partial(self._given, number, "heads"), before=True, with_kwargs=True)
            restore.hook(named.mlp, partial(self._returned, number, "mlp"))
        for router in routers(self.model, missing_ok=True):
            restore.hook(
                router.experts_module, partial(self._called, router.layer), before=True, with_kwargs=True
            )
        norm = decoder_of(self.model).norm
        restore.hook(norm, partial(self._given, -1, "final"), before=True, with_kwargs=True)
        restore.hook(norm, partial(self._returned, -1, "final"))

    def given(self, layer: int, name: str) -> torch.Tensor:
        """Return what a module was given, float64 ``[width]``."""
        return self.seen[layer, f"{name} in"].double()

    def returned(self, layer: int, name: str) -> torch.Tensor:
        """Return what a module returned, float64 ``[width]``."""
        return self.seen[layer, f"{name} out"].double()

    def _given(
        self, layer: int, name: str, _module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> None:
        if self.recording:
            value = args[0] if args else kwargs["hidden_states"]
            self.seen[layer, f"{name} in"] = value.reshape(-1, value.shape[-1])[-1].detach().clone()

    def _returned(self, layer: int, name: str, _module: Any, _args: Any, output: Any) -> None:
        if self.recording:
            value = output[0] if isinstance(output, tuple) else output
            self.seen[layer, f"{name} out"] = value.reshape(-1, value.shape[-1])[-1].detach().clone()

    def _called(self, layer: int, _module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if self.recording:
            names = ("hidden_states", "top_k_index", "top_k_weights")
            given = dict(zip(names, args, strict=False)) | kwargs
            self.calls[layer] = tuple(
                given[name].reshape(-1, given[name].shape[-1])[-1:].detach().clone() for name in names
            )


_NORMS = (
    "post_attention_layernorm", "post_feedforward_layernorm", "post_feedforward_layernorm_1",
    "post_feedforward_layernorm_2", "post_per_layer_input_norm",
)  # fmt: skip


def _split(model: Any, rows: _LastRows) -> list[_Part]:
    """Return every component, with what it adds to the last layer's output."""
    layers = layers_of(model)
    parts = [_Part("embedding", -1, -1, rows.given(0, "layer"))]
    for number, layer in enumerate(layers):
        added = [*_heads(model, rows, number), *_feed_forward(model, rows, number)]
        if getattr(layer, "post_per_layer_input_norm", None) is not None:
            vector = rows.returned(number, "post_per_layer_input_norm")
            added.append(_Part("per-layer input", number, -1, vector))
        parts += added
        scalar = getattr(layer, "layer_scalar", None)
        if scalar is not None:
            for part in parts:
                part.vector = part.vector * scalar.double().to(part.vector.device)
        device = rows.returned(number, "layer").device
        for part in parts:
            part.vector = part.vector.to(device)
        _check_layer(rows, number, parts)
    return parts


def _heads(model: Any, rows: _LastRows, layer: int) -> list[_Part]:
    """Return the heads of a layer, each through ``o_proj`` and the norm after it."""
    found = heads_of(model)[layer]
    output: Any = found.output
    given = rows.seen[layer, "heads in"]
    width = len(given) // found.count
    apart = torch.zeros(found.count, 1, len(given), dtype=given.dtype, device=given.device)
    for head in range(found.count):
        part = slice(head * width, (head + 1) * width)
        apart[head, 0, part] = given[part]
    with torch.no_grad():
        each = output(apart)[:, 0].double()
    factor = _factor(
        layers_of(model)[layer].post_attention_layernorm, rows, layer, "post_attention_layernorm"
    )
    return [_Part("head", layer, head, each[head] * factor) for head in range(found.count)]


def _feed_forward(model: Any, rows: _LastRows, layer: int) -> list[_Part]:
    """Return the dense branch and the experts of a layer, each through the norms after it."""
    module: Any = layers_of(model)[layer]
    outer = _factor(module.post_feedforward_layernorm, rows, layer, "post_feedforward_layernorm")
    if layer not in rows.calls:
        return [_Part("mlp", layer, -1, rows.returned(layer, "mlp") * outer)]
    dense = _factor(module.post_feedforward_layernorm_1, rows, layer, "post_feedforward_layernorm_1")
    summed = _factor(module.post_feedforward_layernorm_2, rows, layer, "post_feedforward_layernorm_2")
    hidden, ids, weights = rows.calls[layer]
    top_k = ids.shape[-1]
    with torch.no_grad():
        each = module.experts(hidden.repeat(top_k, 1), ids.reshape(-1, 1), weights.reshape(-1, 1)).double()
    experts = [
        _Part("expert", layer, int(ids[0, slot]), each[slot] * summed * outer) for slot in range(top_k)
    ]
    return [_Part("mlp", layer, -1, rows.returned(layer, "mlp") * dense * outer), *experts]


def _factor(norm: Any, rows: _LastRows, layer: int, name: str) -> torch.Tensor:
    """Return what an RMS norm multiplied its input with in this run, float64 ``[width]``."""
    given = rows.given(layer, name)
    factor: torch.Tensor = (given.pow(2).mean() + norm.eps).rsqrt()
    if getattr(norm, "weight", None) is not None:
        factor = factor * _weight(norm).double().to(given.device)
    returned = rows.returned(layer, name)
    off = float((given * factor - returned).abs().max())
    if off > _slack(rows) * max(1e-6, float(returned.abs().max())):
        raise BadTrace(
            f"The norm {name} of layer {layer} is off by {off:.3g} from an RMS norm.",
            hint="Only norms of Gemma 4 can be held fixed; take other hooks off the model.",
        )
    return factor


def _check_layer(rows: _LastRows, layer: int, parts: list[_Part]) -> None:
    """Raise `BadTrace` unless the components so far sum to a layer's output."""
    returned = rows.returned(layer, "layer")
    vectors = torch.stack([part.vector for part in parts])
    off = float((vectors.sum(0) - returned).abs().max())
    size = max(float(returned.abs().max()), float(vectors.abs().sum(0).max()))
    if off > _slack(rows) * max(1e-6, size):
        raise BadTrace(
            f"The components up to layer {layer} sum to its output but for {off:.3g}, of {size:.3g}.",
            hint="Something else writes to the residual stream: leave lab.edit() blocks, take hooks off.",
        )


def _logits_of(model: Any, rows: _LastRows, vectors: list[torch.Tensor], tokens: list[int]) -> torch.Tensor:
    """Return what vectors add to the logits of tokens through the final norm, ``[vectors, tokens]``."""
    norm: Any = decoder_of(model).norm
    stacked = torch.stack(vectors) * _factor(norm, rows, -1, "final")
    return _head(model, stacked, tokens)


def _before_cap(model: Any, rows: _LastRows, tokens: list[int]) -> list[float]:
    """Return the logits of tokens before the soft cap, from what the final norm returned."""
    found: list[float] = _head(model, rows.returned(-1, "final")[None], tokens)[0].tolist()
    return found


def _head(model: Any, vectors: torch.Tensor, tokens: list[int]) -> torch.Tensor:
    """Return the products of vectors with the output head's rows of tokens, float64 on the CPU."""
    head: Any = model.get_output_embeddings()
    weight = _weight(head)
    if weight.is_floating_point() and weight.dim() == 2 and weight.shape[1] == vectors.shape[1]:
        chosen = weight[torch.tensor(tokens, device=weight.device)].double()
        return (vectors.to(chosen.device) @ chosen.T).cpu()
    with torch.no_grad():  # packed: by the head itself
        dtype = next(each.dtype for each in model.parameters() if each.is_floating_point())
        parts = [
            head(block.to(weight.device, dtype))[:, tokens].double().cpu()
            for block in torch.split(vectors, _BLOCK)
        ]
    return torch.cat(parts)


def _weight(module: Any) -> torch.Tensor:
    """Return a module's weight, also of one that accelerate offloaded."""
    weight: torch.Tensor = module.weight
    if weight.is_meta:
        weight = module._hf_hook.weights_map["weight"]  # noqa: SLF001 — accelerate keeps the values there
    return weight.detach()


def _cap(model: Any) -> float | None:
    found = getattr(model.config.get_text_config(), "final_logit_softcapping", None)
    return None if found is None else float(found)


def _check_cap(model: LoadedModel, before: list[float], own: list[float]) -> None:
    """Raise `BadTrace` unless logits before the cap, capped, are those that the model returned."""
    cap = _cap(model.model)
    apply: Callable[[float], float] = (
        (lambda value: value)
        if cap is None
        else (lambda value: cap * torch.tanh(torch.tensor(value / cap)).item())
    )
    for value, given in zip(before, own, strict=True):
        if abs(apply(value) - given) > _SLACK.get(model.dtype, 0.05) * max(1.0, abs(given)):
            raise BadTrace(
                f"The final norm gives a logit of {apply(value):.4f} where the model returned {given:.4f}.",
                hint="A hook changes what the head is given; take it off.",
            )


def _check_sum(model: LoadedModel, rounding: float, size: float, whole: float) -> None:
    if abs(rounding) > _SLACK.get(model.dtype, 0.05) * max(1.0, size):
        raise BadTrace(
            f"The components sum to {whole - rounding:.4f}; the logit before the cap is {whole:.4f}.",
            hint="Something else writes to the residual stream: leave lab.edit() blocks, take hooks off.",
        )


def _slack(rows: _LastRows) -> float:
    return _SLACK.get(rows.seen[-1, "final out"].dtype, 0.05)


def _check_family(model: LoadedModel) -> None:
    family = str(getattr(model.text_config, "model_type", ""))
    if not family.startswith("gemma4"):
        raise LabError(
            f"{model.name} is of the family {family!r}; logits are split over the components of Gemma 4.",
            hint="lab.causal_map patches any decoder of transformers.",
        )


def _token_id(model: LoadedModel, name: str, token: Any) -> int:
    """Return the id of a token that is given by its text or its id.

    Raises
    ------
    LabError
        If it is none, or several.
    """
    if isinstance(token, str):
        ids = Vocabulary(model.tokenizer).ids(token)
        if len(ids) != 1:
            texts = [Vocabulary(model.tokenizer).name(each) for each in ids]
            raise LabError(
                f"{short_repr(token)} is {len(ids)} tokens: {short_repr(texts)}; a logit is of one.",
                hint="Pass the first of them.",
            )
        return int(ids[0])
    return whole_number(name, token, minimum=0, maximum=model.vocabulary - 1)

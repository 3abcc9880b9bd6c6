"""Create the probes of a trace from the arguments of `Lab.trace`."""

from __future__ import annotations

import operator
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, get_args

from ...checks import short_repr
from ...errors import DoesNotFit, LabError
from ...models.chat.prefill_plan import SINGLE_PASS_TOKENS
from ...models.loading.weights_digest import weights_digest
from ...models.sparse_autoencoders.sae import SparseAutoencoder
from ...models.tokens.vocabulary import Vocabulary
from ...system.hardware import amount, free_ram
from ..lenses.choose import lens_of
from ..probes.attention.labels import Labels
from ..probes.attention.probe import AttentionProbe
from ..probes.features import FeatureProbe
from ..probes.logit_lens import LogitLensProbe
from ..records.attention import AttentionRequest
from ..records.logit_lens import LensKind, LogitLensRequest
from ..records.routing import Precision

if TYPE_CHECKING:
    from ...models.chat.prompt import Prompt
    from ...models.loading.loaded_model import LoadedModel

#: Tokens at the end of the prompt that logit_lens=True covers.
_LAST = 64


def attention_probe(
    model: LoadedModel, prompt: Prompt, attention: bool | AttentionRequest | None, *, precision: Precision
) -> AttentionProbe | None:
    """Return the attention probe of a prompt and its answer; None if attention is not recorded.

    Raises
    ------
    LabError
        If `attention` is of another type, or a row does not exist.
    DoesNotFit
        If the rows take more memory than is free.
    """
    if attention is None or attention is False:
        return None
    request = AttentionRequest() if attention is True else attention
    if not isinstance(request, AttentionRequest):
        raise LabError(
            f"attention is {short_repr(attention)}.",
            hint="Pass True or gl.AttentionRequest(rows=[…], top_k=8).",
        )
    count, generated = len(prompt.ids), prompt.request.max_new_tokens
    _check_positions("rows", request.rows, count, generated)
    rows = tuple(sorted({row % count if row < 0 else row for row in request.rows}))
    check_row_memory(model, rows, layers=request.layers, heads=request.heads)
    tokenizer = model.tokenizer
    labels: list[Labels] = []
    if request.statistics:
        labels = [Labels(prompt.ids, tokenizer=tokenizer, vocabulary=Vocabulary(tokenizer))]
    return AttentionProbe(
        replace(request, rows=rows),
        # bins are for the prompt; a long answer joins them two by two
        expected=count + min(generated, count // 4),
        labels=labels,
        precision=precision,
    )


def check_row_memory(
    model: LoadedModel,
    rows: Sequence[int],
    *,
    layers: Iterable[int] | None = None,
    heads: Sequence[int] | None = None,
) -> None:
    """Raise `DoesNotFit` if exact attention rows take more memory than is free.

    Parameters
    ----------
    model
        The model.
    rows
        Positions of the queries; each has a row as long as its position, or as the window of a local layer.
    layers, heads
        Those that are recorded; None for all.
    """
    chosen = None if layers is None else set(layers)
    needed = 0
    for index, layer in enumerate(model.architecture.layers):
        if chosen is None or index in chosen:
            keys = sum(min(row + 1, layer.window or row + 1) for row in rows)
            needed += 4 * keys * (layer.heads if heads is None else len(heads))  # float32
    _check_memory(needed, f"{len(rows):,} attention rows", hint="Request fewer rows, layers or heads.")


def lens_probe(
    model: LoadedModel,
    prompt: Prompt,
    logit_lens: bool | LensKind | Sequence[int] | LogitLensRequest | None,
) -> LogitLensProbe | None:
    """Return the logit-lens probe of a prompt and its answer; None if the lens is not recorded.

    Raises
    ------
    LabError
        If `logit_lens` is of another type, a position does not exist, or a target is not one token.
    BadLens
        If a Jacobian lens is requested, and there is none for the model's weights.
    DoesNotFit
        If the lens takes more memory than is free.
    """
    if logit_lens is None or logit_lens is False:
        return None
    request = _lens_request(logit_lens)
    count, generated = len(prompt.ids), prompt.request.max_new_tokens
    _check_positions("logit_lens", request.positions or (), count, generated)
    vocabulary = Vocabulary(model.tokenizer)
    last = range(max(0, count - _LAST), count)
    positions = {
        position % count if position < 0 else position
        for position in (last if request.positions is None else request.positions)
    }
    layers, width = int(model.text_config.num_hidden_layers), int(model.text_config.hidden_size)
    kept = 8 * request.top + 12 * (len(request.targets) + 1)  # id and value each; rank, too, of targets
    at_once = min(len(positions), SINGLE_PASS_TOKENS) * width * model.dtype.itemsize
    _check_memory(
        layers * (len(positions) * kept + at_once),
        f"The logit lens at {len(positions):,} positions",
        hint="Request fewer positions.",
    )
    jacobians = None
    if request.kind == "jacobian":
        lens = lens_of(model)
        _check_memory(lens.jacobians.nbytes, "The matrices of the lens", hint="Record the logit lens.")
        jacobians = dict(zip(lens.layers, lens.jacobians, strict=True))
    return LogitLensProbe(
        positions,
        onward=count if request.positions is None else None,
        top=request.top,
        targets=[_target(model, vocabulary, target) for target in request.targets],
        name=vocabulary.name,
        jacobians=jacobians,
    )


def feature_probe(model: LoadedModel, prompt: Prompt, sae: SparseAutoencoder | None) -> FeatureProbe | None:
    """Return the probe of an SAE for a prompt and its answer; None without an SAE.

    Its fit leaves out ``<bos>`` and the soft tokens of media.

    Raises
    ------
    LabError
        If it is no SAE, or reads another stream than the model has.
    DoesNotFit
        If the features take more memory than is free.
    """
    if sae is None:
        return None
    if not isinstance(sae, SparseAutoencoder):
        raise LabError(f"sae is {short_repr(sae)}.", hint='Pass gl.load_sae("owner/name/folder").')
    layers, width = int(model.text_config.num_hidden_layers), int(model.text_config.hidden_size)
    sae.check_model(name=model.name, width=width, layers=layers)
    tokens = len(prompt.ids) + prompt.request.max_new_tokens
    _check_memory(
        tokens * (8 * sae.kept + 9) + min(tokens, SINGLE_PASS_TOKENS) * 4 * width,
        f"The {sae.kept} strongest features of {tokens:,} tokens",
        hint="Trace a shorter prompt.",
    )
    same = sae.same_weights(weights_digest(model.model)) if sae.base_digest else None
    return FeatureProbe(sae, not_counted(model, prompt), same_weights=same)


def not_counted(model: LoadedModel, prompt: Prompt) -> set[int]:
    """Return the rows that an SAE's fit leaves out: ``<bos>`` and soft tokens."""
    left_out = {0} if prompt.ids and prompt.ids[0] == model.tokenizer.bos_token_id else set[int]()
    names = ("image_token_id", "video_token_id", "audio_token_id")
    soft = {getattr(model.config, name, None) for name in names} - {None}
    kinds = prompt.inputs.get("mm_token_type_ids")
    marked = [0] * len(prompt.ids) if kinds is None else kinds[0].tolist()
    return left_out | {
        row for row, (token, kind) in enumerate(zip(prompt.ids, marked, strict=True)) if kind or token in soft
    }


def _lens_request(logit_lens: Any) -> LogitLensRequest:
    if isinstance(logit_lens, LogitLensRequest):
        return logit_lens
    if logit_lens is True:
        return LogitLensRequest()
    if isinstance(logit_lens, str) and logit_lens in get_args(LensKind):
        return LogitLensRequest(kind=logit_lens)  # type: ignore[arg-type]  # checked just above
    if isinstance(logit_lens, str | bytes) or not isinstance(logit_lens, Iterable):
        raise LabError(
            f"logit_lens is {short_repr(logit_lens)}.",
            hint='Pass True, "jacobian", positions such as [-1], or gl.LogitLensRequest([-1], top=5).',
        )
    positions = list(logit_lens)
    if not all(hasattr(position, "__index__") for position in positions):
        raise LabError(f"logit_lens has {short_repr(positions)}.", hint="Positions are integers.")
    return LogitLensRequest(positions)


def _check_positions(name: str, positions: Iterable[int], count: int, generated: int) -> None:
    """Raise `LabError` if a position is none of the prompt's and of its answer's."""
    for position in positions:
        if not -count <= position < count + generated:
            answer = f" and up to {generated:,} generated ones" if generated else ""
            raise LabError(
                f"{name} has {position:,}; the prompt has {count:,} tokens{answer}.",
                hint="Positions count from 0; negative ones from the end of the prompt.",
            )


def _check_memory(needed: int, what: str, *, hint: str) -> None:
    free = free_ram()
    if needed > free:
        raise DoesNotFit(f"{what} take {amount(needed)} of memory; {amount(free)} are free.", hint=hint)


def _target(model: LoadedModel, vocabulary: Vocabulary, target: int | str) -> int:
    """Return the id of a token whose rank and probability are followed."""
    if isinstance(target, str):
        ids = vocabulary.ids(target)
        if len(ids) != 1:
            parts = ", ".join(f"{vocabulary.name(index)!r} ({index})" for index in ids)
            raise LabError(
                f"{target!r} is {len(ids)} tokens: {parts or 'none'}.",
                hint="Follow one of them by its id, or a text of one token; a leading space may matter.",
            )
        return int(ids[0])
    index = None if isinstance(target, bool) or not hasattr(target, "__index__") else operator.index(target)
    if index is None or not 0 <= index < model.vocabulary:
        raise LabError(
            f"The target {short_repr(target)} is no id of the vocabulary's {model.vocabulary:,}.",
            hint="Ids count from 0.",
        )
    return index

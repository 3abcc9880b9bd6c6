"""Trace several text prompts in one padded forward pass, which a GPU needs to be used."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch

from ...checks import type_name
from ...errors import BadPrompt, LabError
from ...models.chat.logits_processors import check_finite
from ...models.chat.out_of_memory import raise_on_out_of_memory
from ...models.chat.prompt import prepare
from ...models.fine_tuning.batches import padding_id
from ...models.loading.restore import RestoreStack, restores_model
from ...models.tokens.vocabulary import Vocabulary
from ..interventions.apply import active_edit
from ..probes.attention.labels import Labels
from ..probes.attention.probe import AttentionProbe
from ..probes.recorder import Recorder
from ..probes.routing import RoutingProbe
from ..records.attention import AttentionRequest
from ..trace import Trace
from .assembly import run_meta, token_table

if TYPE_CHECKING:
    from ...models.chat.prompt import Prompt
    from ...models.chat.request import Request
    from ...models.loading.loaded_model import LoadedModel
    from ..records.routing import Precision


def is_batchable(request: Request) -> bool:
    """Return whether a request can be traced in a batch: text alone, and no answer to generate."""
    return not request.media and request.max_new_tokens == 0


@restores_model
def trace_batch(
    model: LoadedModel,
    requests: Sequence[Request],
    *,
    attention: bool | AttentionRequest = False,
    precision: Precision = "compact",
) -> list[Trace]:
    """Trace the prompts of several requests in one forward pass, padded on the right.

    Attention is causal and padding is masked, so a prompt's tokens depend on no other prompt. Its numbers
    differ from a pass of its own by rounding alone, since matrix products of other shapes add in another
    order: in float32 about 1e-6 of a gate weight. An expert changes only where two experts are that close.

    Parameters
    ----------
    model
        The model.
    requests
        Text prompts without an answer (`is_batchable`).
    attention
        Record attention, too. A request for rows counts positions in every prompt.
    precision
        Of the records: ``"compact"`` or ``"full"``.

    Returns
    -------
    list of Trace
        In the order of the requests.

    Raises
    ------
    BadPrompt
        If a request has media or asks for an answer.
    DoesNotFit
        If the batch takes more memory than the device has; use a smaller one.
    """
    if not requests:
        return []
    for number, request in enumerate(requests):
        if not is_batchable(request):
            raise BadPrompt(
                f"Prompt {number} of the batch has media or asks for an answer.",
                hint="Trace it alone: lab.trace(request).",
            )
    started = time.perf_counter()
    prompts = [prepare(model, request) for request in requests]
    longest = max(len(prompt.ids) for prompt in prompts)
    routing = RoutingProbe(precision=precision)
    attended = _attention_probe(model, prompts, attention, longest, precision)
    recorder = Recorder(model.model, [probe for probe in (routing, attended) if probe is not None])
    note = f"in a batch of {len(prompts)} prompts of up to {longest:,} tokens"
    with RestoreStack() as restore, raise_on_out_of_memory(model.device, lambda: note):
        restore.hold(model.lock)
        edit = active_edit(model.model)
        restore.enter_context(recorder)
        with torch.no_grad():
            output = model.model(**_padded(model, prompts, longest), use_cache=False, logits_to_keep=1)
        check_finite(output.logits[0, -1], longest - 1)
    seconds = (time.perf_counter() - started) / len(prompts)
    return [
        Trace(
            tokens=token_table(model, prompt, prompt.ids),
            routing=routing.result(row),
            generation=None,
            meta=run_meta(model, prompt, edit=edit, chunks=(), length=len(prompt.ids))
            | {"batch": {"prompts": len(prompts), "row": row, "padded_to": longest}},
            timings={"total_s": seconds},
            images=(),
            attention=None if attended is None else attended.result(row),
            logit_lens=None,
        )
        for row, prompt in enumerate(prompts)
    ]


def _padded(model: LoadedModel, prompts: Sequence[Prompt], longest: int) -> dict[str, Any]:
    """Return input ids and attention mask, ``(prompts, longest)``."""
    ids = torch.full((len(prompts), longest), padding_id(model), dtype=torch.long)
    mask = torch.zeros_like(ids)
    for row, prompt in enumerate(prompts):
        ids[row, : len(prompt.ids)] = torch.tensor(prompt.ids)
        mask[row, : len(prompt.ids)] = 1
    return {"input_ids": ids.to(model.device), "attention_mask": mask.to(model.device)}


def _attention_probe(
    model: LoadedModel,
    prompts: Sequence[Prompt],
    attention: bool | AttentionRequest,
    longest: int,
    precision: Precision,
) -> AttentionProbe | None:
    if attention is False or attention is None:
        return None
    request = AttentionRequest() if attention is True else attention
    if not isinstance(request, AttentionRequest):
        raise LabError(f"attention is {type_name(attention)}.", hint="Pass True or gl.AttentionRequest(…).")
    tokenizer = model.tokenizer
    vocabulary = Vocabulary(tokenizer)
    labels = (
        [Labels(prompt.ids, tokenizer=tokenizer, vocabulary=vocabulary) for prompt in prompts]
        if request.statistics
        else []
    )
    return AttentionProbe(request, expected=longest, labels=labels, precision=precision)

"""Read a prompt and a given answer under probes: teacher forcing.

Two models that read the same answer can be compared token by token; their own answers would soon differ.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch

from ...errors import ContextFull, LabError
from ...models.chat.chunked_prefill import blocks, read
from ...models.chat.logits_processors import check_finite
from ...models.chat.out_of_memory import raise_on_out_of_memory
from ...models.chat.prefill_plan import plan
from ...models.chat.prompt import prepare
from ...models.chat.request import token_ids
from ...models.chat.transcript import Record, Transcript
from ...models.loading.restore import RestoreStack, restores_model
from ...models.tokens.vocabulary import Vocabulary
from ..interventions.apply import active_edit
from ..probes.attention.probe import AttentionProbe
from ..probes.recorder import Probe, Recorder
from ..probes.routing import RoutingProbe
from ..records.attention import AttentionRequest
from ..records.generation import Generation
from ..trace import Trace
from .assembly import run_meta, token_table, with_answer
from .probe_setup import check_row_memory

if TYPE_CHECKING:
    from ...models.chat.prompt import Prompt
    from ...models.chat.request import Request
    from ...models.loading.loaded_model import LoadedModel

#: Rows of logits that are normalised at once.
_BLOCK = 64


@dataclass(frozen=True, eq=False)
class ForcedAnswer:
    """A model's reading of a prompt and a given answer.

    Attributes
    ----------
    trace
        Routing in full precision, and the attention rows that were asked for. ``trace.generation`` has the
        tokens of the given answer with the model's log-probabilities; ``meta["forced_answer"]`` is True. As
        in any trace, the last token of the answer was not read.
    logits
        The logits from which each token of the answer would have been drawn, in the model's dtype, on the
        CPU, ``(tokens of the answer, vocabulary)``.
    """

    trace: Trace
    logits: torch.Tensor = field(repr=False)


@restores_model
def read_answer(
    model: LoadedModel,
    request: Request,
    answer: Sequence[int],
    *,
    rows: Sequence[int] = (),
    apart: bool = False,
    top_logprobs: int = 10,
) -> ForcedAnswer:
    """Read a prompt and a given answer, and return what the model computed.

    Parameters
    ----------
    model, request
        The model and its prompt.
    answer
        Token ids of the answer, at least one.
    rows
        Positions of queries whose attention rows are recorded, exactly; prompt and answer are counted as one
        sequence.
    apart
        Read the answer in a pass of its own after that of the prompt. The same model then differs from a
        reading in one pass by rounding only: a measure of how much of a difference is noise.
    top_logprobs
        How many of the likeliest tokens to keep per token of the answer.

    Raises
    ------
    LabError
        If the answer is empty, or a logit is not finite.
    ContextFull
        If prompt and answer do not fit the context.
    """
    ids = token_ids(answer)
    beyond = [index for index in ids if index >= model.vocabulary]
    if beyond:
        raise LabError(
            f"The answer has token {beyond[0]:,}; {model.name} has {model.vocabulary:,} tokens.",
            hint="Answers are ids of the model's own vocabulary.",
        )
    prompt = prepare(model, request)
    count = len(prompt.ids)
    if count + len(ids) > model.context:
        raise ContextFull(
            f"Prompt and answer are {count:,} + {len(ids):,} tokens; {model.name} reads {model.context:,}.",
            hint="Shorten one of them.",
        )
    full = with_answer(prompt, [*prompt.ids, *ids[:-1]])
    stops = plan(model, full).stops
    if apart:
        stops = _with_stop(stops, _cut(full, count))
    routing = RoutingProbe(precision="full")
    attention = _attention(model, rows, len(full.ids))
    probes: list[Probe] = [routing] if attention is None else [routing, attention]
    parts: list[torch.Tensor] = []
    with RestoreStack() as restore, raise_on_out_of_memory(model.device, lambda: "while an answer was read"):
        restore.hold(model.lock)
        edit = active_edit(model.model)
        restore.enter_context(Recorder(model.model, probes))
        read(
            model,
            full,
            stops,
            logits_from=count - 1,
            on_logits=lambda logits: parts.append(logits.to("cpu", copy=True)),
        )
    logits = torch.cat(parts)
    for row in (~logits.amax(-1).isfinite()).nonzero()[:1, 0].tolist():
        check_finite(logits[row], count - 1 + row)
    options = request.with_options(max_new_tokens=len(ids), top_logprobs=top_logprobs)
    meta = run_meta(model, prompt, edit=edit, chunks=stops, length=len(full.ids))
    trace = Trace(
        tokens=token_table(model, prompt, full.ids),
        routing=routing.result(),
        generation=_generation(model, prompt, ids, logits, top_logprobs),
        meta=meta | {"request": options.to_meta(), "forced_answer": True},
        timings={},
        images=prompt.images,
        attention=None if attention is None else attention.result(),
        logit_lens=None,
    )
    return ForcedAnswer(trace, logits)


def _attention(model: LoadedModel, rows: Sequence[int], length: int) -> AttentionProbe | None:
    if not rows:
        return None
    if min(rows) < 0 or max(rows) >= length:
        raise LabError(
            f"rows has {max(rows, key=abs):,}; prompt and answer have {length:,} tokens that are read.",
            hint="The last token of an answer is not read.",
        )
    chosen = tuple(sorted(set(rows)))
    check_row_memory(model, chosen)
    return AttentionProbe(AttentionRequest(rows=chosen, top_k=0, pooled=False, statistics=False))


def _cut(full: Prompt, count: int) -> int:
    """Return where to read in two passes: after the prompt, or before its last token if that is all."""
    if len(full.ids) > count:
        return count
    return count - 1 if all(stop < count for _, stop in blocks(full.inputs)) else count


def _with_stop(stops: tuple[int, ...], stop: int) -> tuple[int, ...]:
    return tuple(sorted({*stops, stop} - {0}))


def _generation(
    model: LoadedModel, prompt: Prompt, ids: Sequence[int], logits: torch.Tensor, top: int
) -> Generation:
    """Return the given answer with the model's own log-probabilities of it."""
    entropy: list[float] = []
    chosen: list[float] = []
    best: list[tuple[list[int], list[float]]] = []
    for start in range(0, len(ids), _BLOCK):
        logprobs = torch.log_softmax(logits[start : start + _BLOCK].float(), dim=-1)
        entropy += torch.special.entr(logprobs.exp()).sum(-1).tolist()
        wanted = torch.tensor(ids[start : start + _BLOCK])[:, None]
        chosen += logprobs.gather(1, wanted)[:, 0].tolist()
        values, indices = logprobs.topk(min(top, logprobs.shape[1]), dim=-1)
        best += list(zip(indices.tolist(), values.tolist(), strict=True))
    ends: Any = model.model.generation_config.eos_token_id
    return Generation.of(
        ids=ids,
        logprobs=chosen,
        entropy=entropy,
        alternative_ids=[indices for indices, _ in best],
        alternative_logprobs=[values for _, values in best],
        finish_reason="stop" if ids[-1] in (ends if isinstance(ends, list) else [ends]) else "length",
        text=_text(model, prompt, ids),
    )


def _text(model: LoadedModel, prompt: Prompt, ids: Sequence[int]) -> str:
    """Return the visible text of an answer, without thoughts and control tokens."""
    transcript = Transcript(Vocabulary(model.tokenizer), prompt.ids)
    tokens = [token for index in ids for token in transcript.add(index, Record(0.0, 0.0))]
    return "".join(token.text for token in [*tokens, *transcript.end()] if token.kind == "text")

"""Run the model on a request with probes attached; `Lab.trace` calls `trace`."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, get_args

import numpy as np

from ...checks import short_repr
from ...errors import BadEdit, BadTrace, LabError
from ...models.chat.chunked_prefill import read, up_to
from ...models.chat.generation import Generation
from ...models.chat.logits_processors import Stopped, check_finite, stop_between_layers
from ...models.chat.options import RequestOptions, check_keywords
from ...models.chat.out_of_memory import raise_on_out_of_memory
from ...models.chat.prefill_plan import plan
from ...models.chat.prompt import prepare
from ...models.chat.request_builder import build_request, stop_events
from ...models.chat.sampling import Sampling
from ...models.loading.restore import RestoreStack, restores_model
from ..interventions.apply import active_edit, editing
from ..interventions.edit import Edit
from ..probes.logit_lens import LogitLensProbe
from ..probes.recorder import Recorder
from ..probes.routing import RoutingProbe
from ..records.generation import Generation as GenerationRecord
from ..records.routing import Precision
from ..trace import Trace
from .assembly import run_meta, token_table
from .drafts import drafts
from .probe_setup import attention_probe, feature_probe, lens_probe

if TYPE_CHECKING:
    import threading
    from typing import Unpack

    from ...models.chat.prompt import Prompt
    from ...models.chat.reply import Reply
    from ...models.chat.request import Request
    from ...models.chat.request_builder import PromptLike
    from ...models.loading.loaded_model import LoadedModel
    from ...models.sparse_autoencoders.sae import SparseAutoencoder
    from ..probes.attention.probe import AttentionProbe
    from ..probes.features import FeatureProbe
    from ..records.attention import AttentionRequest
    from ..records.logit_lens import LensKind, LogitLensRequest


@restores_model
def trace(
    model: LoadedModel,
    prompt: PromptLike = None,
    *,
    precision: Precision = "compact",
    edit: Edit | None = None,
    attention: bool | AttentionRequest = False,
    logit_lens: bool | LensKind | Sequence[int] | LogitLensRequest = False,
    sae: SparseAutoencoder | None = None,
    progress: bool = False,
    **options: Unpack[RequestOptions],
) -> Trace:
    """Run the model on a request and return a trace; see `Lab.trace`."""
    check_keywords("trace", options, RequestOptions, also=_TRACE_OPTIONS)
    _check_precision(precision)
    request = build_request(model, prompt, options, sampling=Sampling.greedy(), max_new_tokens=0)
    request.to_meta()  # refused here if it cannot be kept
    prepared = prepare(model, request)
    _check_edit(edit, len(prepared.ids) + request.max_new_tokens)
    probes = _Probes(
        RoutingProbe(precision=precision),
        attention_probe(model, prepared, attention, precision=precision),
        lens_probe(model, prepared, logit_lens),
        feature_probe(model, prepared, sae),
    )
    recorder = Recorder(model.model, [each for each in probes.all if each is not None])
    run = _Run(model, prepared, recorder, stop_events(options.get("stop")), progress)
    model.interrupted_trace = None
    with editing(model, edit):
        try:
            run.generate() if request.max_new_tokens else run.read()
            drafted = drafts(model, prepared, run.reply, stop=run.events)
        except BadTrace:
            raise  # probes stopped at different positions: a trace that contradicts itself is not kept
        except BaseException:
            if recorder.lengths and recorder.consistent:  # keep what was read, after any error
                model.interrupted_trace = _trace(run, probes)
            raise
    if not recorder.lengths:
        raise LabError("The model was stopped before it had read the prompt.", hint="Trace again.")
    result = _trace(run, probes)
    if drafted is not None:
        result.meta["drafter"] = drafted
    return result


_TRACE_OPTIONS = ("precision", "edit", "attention", "logit_lens", "sae", "progress")


def _check_precision(precision: Any) -> None:
    """Refuse a precision that a trace file does not have before the model runs."""
    if precision not in get_args(Precision):
        raise LabError(
            f"There is no precision {short_repr(precision)}.",
            hint="It is " + " or ".join(f'"{each}"' for each in get_args(Precision)) + ".",
        )


def _check_edit(edit: Any, length: int) -> None:
    if edit is None:
        return
    if not isinstance(edit, Edit):
        raise BadEdit(f"edit is {short_repr(edit)}.", hint="Pass gl.Edit(ablate_experts={4: [17]}).")
    edit.check_length(length)


@dataclass(frozen=True)
class _Probes:
    """The probes of a run; None for what was not requested."""

    routing: RoutingProbe
    attention: AttentionProbe | None
    logit_lens: LogitLensProbe | None
    features: FeatureProbe | None

    @property
    def all(self) -> tuple[Any, ...]:
        return self.routing, self.attention, self.logit_lens, self.features


@dataclass
class _Run:
    """One run of the model under a recorder. As a context it brackets the time that it owns the model."""

    model: LoadedModel
    prompt: Prompt
    recorder: Recorder
    events: Sequence[threading.Event]
    progress: bool
    started: float = field(default_factory=time.perf_counter)
    reply: Reply | None = None
    chunks: tuple[int, ...] = ()
    edit: Edit = field(default_factory=Edit)
    timings: dict[str, float] = field(default_factory=dict)

    @property
    def request(self) -> Request:
        return self.prompt.request

    def __enter__(self) -> None:
        """Note the active edit once the lock is held: another thread may have edited the model before."""
        self.edit = active_edit(self.model.model)
        self.recorder.__enter__()

    def __exit__(self, *raised: Any) -> None:  # noqa: PYI036
        self.recorder.__exit__(*raised)
        self.timings["total_s"] = time.perf_counter() - self.started

    def generate(self) -> None:
        """Read the prompt and generate an answer."""
        count = len(self.prompt.ids)
        with self._bar(total=count + self.request.max_new_tokens) as bar:

            def advance(tokens: list[Any]) -> None:
                bar.update(max(0, count - bar.n) + len(tokens))

            generation = Generation(
                self.model,
                self.prompt,
                stop=self.events,
                on_tokens=advance if self.progress else None,
                on_chunk=bar.update,
                around=self,
            )
            try:
                generation.run()
            finally:
                self.chunks = generation.chunks
                self.reply = reply = generation.reply()
                self.timings |= {"prefill_s": reply.timings.prefill_s, "decode_s": reply.timings.decode_s}

    def read(self) -> None:
        """Read the prompt."""
        with (
            self._bar(total=len(self.prompt.ids)) as bar,
            RestoreStack() as restore,
            raise_on_out_of_memory(self.model.device, self._done),
            suppress(Stopped),
        ):
            restore.hold(self.model.lock)
            restore.enter_context(self)
            stop_between_layers(self.model.model, self._is_stopped, restore)
            self.chunks = plan(self.model, self.prompt).stops
            output = read(self.model, self.prompt, self.chunks, on_chunk=bar.update)
            check_finite(output.logits[0, -1], len(self.prompt.ids) - 1)

    def _is_stopped(self) -> bool:
        return any(event.is_set() for event in self.events)

    def _done(self) -> str:
        done = self.recorder.lengths[0] if self.recorder.lengths else 0
        return f"after {done:,} of {len(self.prompt.ids):,} tokens"

    def _bar(self, *, total: int) -> Any:
        from tqdm.auto import tqdm

        return tqdm(
            total=total,
            unit=" tokens",
            desc=f"trace of {self.model.name}",
            leave=False,
            disable=not self.progress,
        )


def _trace(run: _Run, probes: _Probes) -> Trace:
    """Return the trace of what was read; of an interrupted run, as if the prompt had ended there."""
    model, length = run.model, run.recorder.lengths[0]
    prompt = up_to(run.prompt, length)
    reply = run.reply if length >= len(run.prompt.ids) else None
    generated = [token.id for token in reply.tokens] if reply is not None else []
    # the token that was chosen last was never read: it has no routing, and no row
    table = token_table(model, prompt, (prompt.ids + generated)[:length])
    lens = probes.logit_lens
    return Trace(
        tokens=table,
        routing=probes.routing.result(),
        generation=_generation(reply, run.request.top_logprobs),
        meta=run_meta(model, run.prompt, edit=run.edit, chunks=run.chunks, length=length)
        | ({} if lens is None or lens.kind == "logit" else {"jacobian_lens": model.jacobian_lens.to_meta()}),
        timings=run.timings,
        images=prompt.images,
        attention=None if probes.attention is None else probes.attention.result(),
        logit_lens=None if lens is None or not lens.reached else lens.result(),
        features=None if probes.features is None else probes.features.result(),
    )


def _generation(reply: Reply | None, top_logprobs: int) -> GenerationRecord | None:
    if reply is None:
        return None
    kept = [token.top_logprobs[:top_logprobs] for token in reply.tokens]
    overruled = [token.overruled for token in reply.tokens]
    return GenerationRecord.of(
        ids=[token.id for token in reply.tokens],
        logprobs=[token.logprob for token in reply.tokens],
        entropy=[token.entropy for token in reply.tokens],
        alternative_ids=[[other.id for other in row] for row in kept],
        alternative_logprobs=[[other.logprob for other in row] for row in kept],
        finish_reason=reply.finish_reason,
        text=reply.text,
        forbidden=[np.nan if each is None else each.forbidden for each in overruled],
        first_choice_ids=[-1 if each is None else each.first_choice_id for each in overruled],
        overruled=[each is not None and each.changed for each in overruled],
    )

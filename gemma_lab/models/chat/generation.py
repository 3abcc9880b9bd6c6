"""Generation of one answer: a prepared prompt in, tokens and at the end a `Reply` out."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch
from transformers.generation.logits_process import LogitsProcessorList
from transformers.generation.stopping_criteria import StoppingCriteriaList

from ..drafting.acceptance import Acceptance
from ..grammar.engine import grammar
from ..grammar.processor import GrammarProcessor
from ..loading.compat_cache import cache_in, cache_name
from ..loading.restore import RestoreStack, restores_model
from ..loading.tensor_parallel import same_in_all
from ..tokens.vocabulary import Vocabulary
from .chunked_prefill import read
from .logits_processors import (
    LogprobRecorder,
    SampleToken,
    StopOnEvent,
    StopOnString,
    Stopped,
    TokenStreamer,
    stop_between_layers,
)
from .messages import answered
from .out_of_memory import raise_on_out_of_memory
from .prefill_plan import plan
from .reply import Overruled, Reply, Timings, Token
from .tools import calls
from .transcript import Transcript

if TYPE_CHECKING:
    import threading
    from collections.abc import Sequence

    from ..drafting.drafter import Proposals
    from ..loading.loaded_model import LoadedModel
    from .chunked_prefill import OnChunk
    from .logits_processors import Step
    from .prompt import Prompt
    from .reply import Finish
    from .request import Request

OnTokens = Callable[[list[Token]], None]


class Generation:
    """Generation of one answer.

    Parameters
    ----------
    model, prompt
        The model and its input; the request of the prompt has sampling, seed and limits.
    stop
        Events that stop it, set from any thread.
    on_tokens
        Called with tokens as their text becomes certain, in the thread that runs.
    on_chunk
        Called after each chunk of a long prompt but the last with the number of its tokens.
    around
        Context manager entered while this generation owns the model, so that probes see only its tokens. The
        model's drafter is not used then: probes would see rejected drafts, too.
    """

    def __init__(
        self,
        model: LoadedModel,
        prompt: Prompt,
        *,
        stop: Sequence[threading.Event] = (),
        on_tokens: OnTokens | None = None,
        on_chunk: OnChunk | None = None,
        around: AbstractContextManager[Any] | None = None,
    ) -> None:
        self._model, self._prompt = model, prompt
        #: The request of the prompt.
        self.request = prompt.request
        self._limit = min(prompt.request.max_new_tokens, prompt.remaining)
        self._stop, self._on_tokens, self._on_chunk = stop, on_tokens, on_chunk
        self._around: AbstractContextManager[Any] = nullcontext() if around is None else around
        vocabulary = Vocabulary(model.tokenizer)
        self._recorder = LogprobRecorder(vocabulary, prompt.request.top_logprobs)
        self._stop_strings = StopOnString(vocabulary, prompt.request.stop, prompt=len(prompt.ids))
        self._transcript = Transcript(vocabulary, prompt.ids)
        self._vocabulary = vocabulary
        self._grammar = grammar_processor(model, prompt.request, self._recorder.logprobs)
        #: End of each chunk of the prompt, in tokens, once it was read.
        self.chunks: tuple[int, ...] = ()
        self._tokens: list[Token] = []
        self._drafter = model.drafter if around is None else None
        self._proposals: Proposals | None = None  # of the drafter
        # tokens whose numbers are still on the device, with `Token.drafted`
        self._pending: list[tuple[int, Step, bool | None]] = []
        self._count, self._last = 0, -1  # tokens generated, and the id of the latest
        self._started = self._first = self._latest = 0.0

    @restores_model
    def run(self) -> None:
        """Generate the answer in this thread; return when it is complete, cut or stopped.

        One generation runs at a time on a model; others wait here. The answer is in ``model.last_reply``
        afterwards, the partial one also when an exception or an interrupt ended it.

        Raises
        ------
        DoesNotFit
            If memory runs out.
        LabError
            If a logit is not a finite number.
        """
        with RestoreStack() as restore:
            try:
                if restore.hold(self._model.lock, until=self._is_stopped):
                    self._generate(restore)
            finally:
                self._flush()
                self._add(self._transcript.end())
                self._model.last_reply = self.reply()

    def reply(self) -> Reply:
        """Return the answer as far as it is generated."""
        text = "".join(token.text for token in self._tokens if token.kind == "text")
        thinking = "".join(token.text for token in self._tokens if token.kind == "thought")
        tool_calls = calls(
            "".join(token.text for token in self._tokens if token.kind == "tool"), self._prompt.request.tools
        )
        request = self._prompt.request
        messages = [] if request.raw else answered(list(request.messages), text, thinking, tool_calls)
        return Reply(
            text=text,
            thinking=thinking,
            tokens=tuple(self._tokens),
            messages=messages,
            prompt_tokens=len(self._prompt.ids),
            finish_reason=self._finish_reason(),
            sampling=request.sampling,
            seed=request.seed,
            model=self._model.name,
            timings=Timings(
                prefill_s=max(0.0, self._first - self._started),
                decode_s=self._latest - self._first,
                prompt_tokens=len(self._prompt.ids),
                new_tokens=len(self._tokens),
            ),
            tools=tuple(request.tools),
            request=request,
            acceptance=self._acceptance(),
        )

    def _acceptance(self) -> Acceptance | None:
        if self._drafter is None or self._proposals is None:
            return None
        drafted = [token.drafted for token in self._tokens]
        return Acceptance.of(drafted, drafter=self._drafter.name, draft_tokens=self._draft_tokens)

    def _generate(self, restore: RestoreStack) -> None:
        model, request = self._model.model, self._prompt.request
        config = _config(model, self._limit)
        suppressed = config.suppress_tokens or []
        if suppressed:  # done in `SampleToken`, after the recorder; None would be filled from the checkpoint
            config.suppress_tokens = []
        seed = same_in_all(model, request.seed)
        draw = SampleToken(request.sampling, seed, suppressed, rewinds=self._drafter is not None)
        assistant = {}
        if self._drafter is not None:
            self._draft_tokens = self._drafter.tokens
            self._proposals = self._drafter.attach(model, restore)
            assistant = {"assistant_model": self._drafter.model}
        self._started = time.perf_counter()
        try:
            with raise_on_out_of_memory(self._model.device, self._progress), self._around:
                stop_between_layers(model, self._is_stopped, restore)
                model.generate(
                    **self._inputs(),
                    **assistant,
                    generation_config=config,
                    logits_processor=LogitsProcessorList(
                        [each for each in (self._recorder, self._grammar, draw) if each is not None]
                    ),
                    stopping_criteria=StoppingCriteriaList([StopOnEvent(self._stop), self._stop_strings]),
                    streamer=TokenStreamer(self._receive),
                )
        except Stopped:
            return  # requested: the reply's finish_reason is "stopped"

    def _is_stopped(self) -> bool:
        return any(event.is_set() for event in self._stop)

    def _inputs(self) -> dict[str, Any]:
        """Read a long prompt up to its last chunk, and return what ``generate`` continues with."""
        inputs = self._prompt.inputs
        self.chunks = plan(self._model, self._prompt).stops
        if len(self.chunks) == 1:
            return inputs
        output = read(self._model, self._prompt, self.chunks[:-1], on_chunk=self._on_chunk)
        ids = inputs["input_ids"]  # all of them: ``generate`` takes those that the cache lacks
        return {
            "input_ids": ids,
            "attention_mask": torch.ones_like(ids),
            cache_name(self._model.model): cache_in(output),
        }

    def _progress(self) -> str:
        return f"after {self._count:,} new tokens of a prompt of {len(self._prompt.ids):,}"

    def _receive(self, ids: list[int]) -> None:
        """Take the ids of a pass: one, and several with a drafter, of which a stop string may be amid."""
        self._latest = time.perf_counter()
        if not self._count:
            self._first = self._latest
        drafted = [None] * len(ids) if self._proposals is None else self._proposals.outcomes(ids)
        for index, draft in zip(ids, drafted, strict=True):
            if self._stop_strings.end is not None and self._count >= self._stop_strings.end:
                break
            self._stop_strings.read(self._count, index)
            self._count, self._last = self._count + 1, index
            self._pending.append((index, self._recorder.take(index), draft))
        if self._on_tokens is not None:
            self._flush()

    def _flush(self) -> None:
        """Turn recorded steps into tokens: one by one if there is a callback, else all at the end."""
        pending, self._pending = self._pending, []
        records = self._recorder.read([(index, step) for index, step, _ in pending])
        for (index, _, drafted), record in zip(pending, records, strict=True):
            if self._grammar is not None:
                forbidden, first, changed = self._grammar.take()
                overruled = Overruled(forbidden, first, self._vocabulary.name(first), changed)
                record = replace(record, overruled=overruled)
            if drafted is not None:
                record = replace(record, drafted=drafted)
            self._add(self._transcript.add(index, record))

    def _add(self, tokens: list[Token]) -> None:
        if tokens:
            self._tokens += tokens
            if self._on_tokens is not None:
                self._on_tokens(tokens)

    def _finish_reason(self) -> Finish:
        ends = self._model.model.generation_config.eos_token_id
        if self._count and self._last in (ends if isinstance(ends, list) else [ends]):
            return "stop"
        if self._stop_strings.end is not None:
            return "stop"
        return "length" if self._count >= self._limit else "stopped"


def grammar_processor(
    model: LoadedModel, request: Request, logprobs: Callable[[int], torch.Tensor] | None = None
) -> GrammarProcessor | None:
    """Return what binds the answer of a request; None if nothing does.

    Parameters
    ----------
    model, request
        The model, and the request with a schema or a choice of tools.
    logprobs
        As for `GrammarProcessor`.
    """
    if request.schema is None and request.tool_choice is None:
        return None
    ends = model.model.generation_config.eos_token_id
    return GrammarProcessor(
        grammar(
            model.tokenizer,
            size=model.vocabulary,
            ends=ends if isinstance(ends, list) else [ends],
            schema=request.schema,
            tools=request.tools,
            tool_choice=request.tool_choice or "none",
            thinking=request.thinking,
        ),
        logprobs,
    )


def _config(model: Any, limit: int) -> Any:
    """Return the checkpoint's generation config without what is done here.

    The neutral values are transformers' defaults: None would be filled from the checkpoint again.
    """
    config = copy.deepcopy(model.generation_config)
    config.update(
        do_sample=False,
        temperature=1.0,
        top_p=1.0,
        top_k=50,
        num_beams=1,
        num_return_sequences=1,
        max_new_tokens=limit,
        return_dict_in_generate=False,
        output_logits=False,
        output_scores=False,
    )
    return config

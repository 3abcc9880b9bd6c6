"""One answer being written: the prompt goes in, settled tokens come out, a `Reply` is what remains."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING, Any

import torch
from transformers.generation.logits_process import LogitsProcessorList
from transformers.generation.stopping_criteria import StoppingCriteriaList

from ...trace.tokens.vocabulary import Vocabulary
from ..loading.compat_cache import cache_in, cache_name
from .chunked_prefill import read
from .logits_processors import Recorder, SampleToken, StopOnEvent, Stopped, TokenStreamer, leaving_early
from .messages import answered
from .out_of_memory import raise_on_out_of_memory
from .prefill_plan import plan
from .prompt import room
from .reply import Reply, Timings, Token
from .tools import calls
from .transcript import Transcript

if TYPE_CHECKING:
    import threading
    from collections.abc import Sequence

    from ..loading.loaded_model import LoadedModel
    from .chunked_prefill import Told
    from .logits_processors import Step
    from .prompt import Prompt
    from .reply import Finish
    from .sampling import Sampling

Heard = Callable[[list[Token]], None]


class Generation:
    """One answer being written.

    Parameters
    ----------
    lab, prompt
        The model and what it reads.
    sampling, seed
        How tokens are drawn.
    max_new_tokens
        Where to cut the answer; the end of the context cuts it too.
    top_logprobs
        How many of the likeliest tokens to keep at each position.
    stop
        Events that stop it, from any thread.
    heard
        Called with tokens as they settle, in the thread that runs.
    told
        Called after each piece of a long prompt but the last with the number of its tokens.
    around
        Entered once it is this generation's turn, left when the model is done: what watches the model sees
        nobody else's tokens.
    """

    def __init__(
        self,
        lab: LoadedModel,
        prompt: Prompt,
        *,
        sampling: Sampling,
        seed: int | None,
        max_new_tokens: int,
        top_logprobs: int,
        stop: Sequence[threading.Event],
        heard: Heard | None = None,
        told: Told | None = None,
        around: AbstractContextManager[Any] | None = None,
    ) -> None:
        self._lab, self._prompt = lab, prompt
        self._sampling, self._seed = sampling, seed
        self._limit = min(max_new_tokens, room(lab, prompt))
        self._stop, self._heard, self._told = stop, heard, told
        self._around: AbstractContextManager[Any] = nullcontext() if around is None else around
        pieces = Vocabulary(lab.tokenizer)
        self._recorder = Recorder(pieces, top_logprobs)
        self._transcript = Transcript(pieces, prompt.ids)
        #: Where each piece of the prompt ends, once it is read.
        self.pieces: tuple[int, ...] = ()
        self._tokens: list[Token] = []
        self._unread: list[tuple[int, Step]] = []  # tokens whose numbers are still on the device
        self._count, self._last = 0, -1  # tokens generated, and the id of the latest
        self._started = self._first = self._latest = 0.0

    def run(self) -> None:
        """Write the answer, in this thread; returns when it is complete, cut or stopped.

        One generation runs at a time on a lab; others wait here. The answer is in ``lab.last_reply``
        afterwards, the partial one also when an exception or an interrupt ended it.

        Raises
        ------
        DoesNotFit
            If memory runs out.
        """
        with _turn(self._lab.lock, self._stop) as ours:
            try:
                if ours:
                    self._generate()
            finally:
                self._read()
                self._settle(self._transcript.end())
                self._lab.last_reply = self.reply()

    def reply(self) -> Reply:
        """Return the answer as far as it is written."""
        text = "".join(token.text for token in self._tokens if token.kind == "text")
        thinking = "".join(token.text for token in self._tokens if token.kind == "thought")
        asked = calls("".join(token.text for token in self._tokens if token.kind == "tool"))
        return Reply(
            text=text,
            thinking=thinking,
            tokens=tuple(self._tokens),
            messages=answered(self._prompt.messages, text, thinking, asked),
            prompt_tokens=len(self._prompt.ids),
            finish_reason=self._finish(),
            sampling=self._sampling,
            seed=self._seed,
            model=self._lab.name,
            timings=Timings(
                prefill_s=max(0.0, self._first - self._started),
                decode_s=self._latest - self._first,
                prompt_tokens=len(self._prompt.ids),
                new_tokens=len(self._tokens),
            ),
            tools=self._prompt.tools,
        )

    def _generate(self) -> None:
        model = self._lab.model
        config = _config(model, self._limit)
        suppressed = config.suppress_tokens or []
        if (
            suppressed
        ):  # done in `SampleToken`, after the recorder; a None would be filled from the checkpoint again
            config.suppress_tokens = []
        draw = SampleToken(self._sampling, self._seed, suppressed)
        self._started = time.perf_counter()
        try:
            with (
                raise_on_out_of_memory(self._lab.device, self._told_so_far), self._around,
                leaving_early(model, self._stop),
            ):  # fmt: skip
                model.generate(
                    **self._begun(),
                    generation_config=config,
                    logits_processor=LogitsProcessorList([self._recorder, draw]),
                    stopping_criteria=StoppingCriteriaList([StopOnEvent(self._stop)]),
                    streamer=TokenStreamer(self._hear),
                )
        except Stopped:
            return  # asked for: the reply says "stopped"

    def _begun(self) -> dict[str, Any]:
        """Read a long prompt up to its last piece, and return what ``generate`` is to go on with."""
        inputs = self._prompt.inputs
        self.pieces = plan(self._lab, self._prompt).stops
        if len(self.pieces) == 1:
            return inputs
        done = read(self._lab, self._prompt, self.pieces[:-1], told=self._told)
        ids = inputs["input_ids"]  # all of them: it takes those that the cache lacks
        return {
            "input_ids": ids, "attention_mask": torch.ones_like(ids),
            cache_name(self._lab.model): cache_in(done),
        }  # fmt: skip

    def _told_so_far(self) -> str:
        return f"after {self._count:,} new tokens of a prompt of {len(self._prompt.ids):,}"

    def _hear(self, index: int) -> None:
        self._latest = time.perf_counter()
        if not self._count:
            self._first = self._latest
        self._count, self._last = self._count + 1, index
        self._unread.append((index, self._recorder.take(index)))
        if self._heard is not None:
            self._read()

    def _read(self) -> None:
        """Turn what is recorded into tokens: at once if somebody listens, else once at the end."""
        unread, self._unread = self._unread, []
        records = self._recorder.read([step for _, step in unread])
        for (index, _), record in zip(unread, records, strict=True):
            self._settle(self._transcript.add(index, record))

    def _settle(self, tokens: list[Token]) -> None:
        if tokens:
            self._tokens += tokens
            if self._heard is not None:
                self._heard(tokens)

    def _finish(self) -> Finish:
        ends = self._lab.model.generation_config.eos_token_id
        if self._count and self._last in (ends if isinstance(ends, list) else [ends]):
            return "stop"
        return "length" if self._count >= self._limit else "stopped"


@contextmanager
def _turn(lock: threading.Lock, stop: Sequence[threading.Event]) -> Iterator[bool]:
    """Wait for the lab; yields False if somebody asked to stop meanwhile."""
    while not (ours := lock.acquire(timeout=0.1)):
        if any(event.is_set() for event in stop):
            break
    try:
        yield ours
    finally:
        if ours:
            lock.release()


def _config(model: Any, limit: int) -> Any:
    """Return the checkpoint's generation config, with what we do ourselves switched off.

    The neutral values are transformers' defaults: a None would be filled from the checkpoint again.
    """
    config = copy.deepcopy(model.generation_config)
    config.update(
        do_sample=False, temperature=1.0, top_p=1.0, top_k=50, num_beams=1, num_return_sequences=1,
        max_new_tokens=limit, return_dict_in_generate=False, output_logits=False, output_scores=False,
    )  # fmt: skip
    return config

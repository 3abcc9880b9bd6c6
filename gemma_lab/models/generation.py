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

from ..errors import DoesNotFit
from .messages import answered
from .pieces import Pieces
from .prompt import room
from .recorder import Draw, Halt, Halted, Listener, Recorder, leaving_early
from .reply import Reply, Timings, Token
from .transcript import Transcript

if TYPE_CHECKING:
    import threading
    from collections.abc import Sequence

    from .lab import Lab
    from .prompt import Prompt
    from .recorder import Step
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
    alternatives
        How many of the likeliest tokens to keep at each position.
    stop
        Events that stop it, from any thread.
    heard
        Called with tokens as they settle, in the thread that runs.
    around
        Entered once it is this generation's turn, left when the model is done: what watches the model sees
        nobody else's tokens.
    """

    def __init__(
        self,
        lab: Lab,
        prompt: Prompt,
        *,
        sampling: Sampling,
        seed: int | None,
        max_new_tokens: int,
        alternatives: int,
        stop: Sequence[threading.Event],
        heard: Heard | None = None,
        around: AbstractContextManager[Any] | None = None,
    ) -> None:
        self._lab, self._prompt = lab, prompt
        self._sampling, self._seed = sampling, seed
        self._limit = min(max_new_tokens, room(lab, prompt))
        self._stop, self._heard = stop, heard
        self._around: AbstractContextManager[Any] = nullcontext() if around is None else around
        pieces = Pieces(lab.tokenizer)
        self._recorder = Recorder(pieces, alternatives)
        self._transcript = Transcript(pieces, prompt.ids)
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
        return Reply(
            text=text,
            thinking=thinking,
            tokens=tuple(self._tokens),
            messages=answered(self._prompt.messages, text, thinking),
            prompt_tokens=len(self._prompt.ids),
            finish=self._finish(),
            sampling=self._sampling,
            seed=self._seed,
            model=self._lab.name,
            timings=Timings(
                prefill_s=max(0.0, self._first - self._started),
                decode_s=self._latest - self._first,
                prompt_tokens=len(self._prompt.ids),
                new_tokens=len(self._tokens),
            ),
        )

    def _generate(self) -> None:
        model = self._lab.model
        config = _config(model, self._limit)
        suppressed = config.suppress_tokens or []
        if suppressed:  # done in `Draw`, after the recorder; a None would be filled from the checkpoint again
            config.suppress_tokens = []
        draw = Draw(self._sampling, self._seed, suppressed)
        self._started = time.perf_counter()
        try:
            with self._around, leaving_early(model, self._stop):
                model.generate(
                    **self._prompt.inputs,
                    generation_config=config,
                    logits_processor=LogitsProcessorList([self._recorder, draw]),
                    stopping_criteria=StoppingCriteriaList([Halt(self._stop)]),
                    streamer=Listener(self._hear),
                )
        except Halted:
            return  # asked for: the reply says "stopped"
        except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
            if not out_of_memory(error):
                raise
            raise self._too_large(error) from error

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

    def _too_large(self, error: BaseException) -> DoesNotFit:
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        said = str(error).splitlines()[0] if str(error) else type(error).__name__
        return DoesNotFit(
            f"Memory ran out on {self._lab.device} after {self._count:,} new tokens of a prompt of "
            f"{len(self._prompt.ids):,}: {said}",
            hint="Shorten the prompt, pass fewer pictures, lower max_new_tokens, or load a smaller "
            "checkpoint; gemma_lab.doctor() says what fits here.",
        )


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


def out_of_memory(error: BaseException) -> bool:
    """Return whether an error says that memory ran out, on any device."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    said = str(error).lower()  # the CPU allocator and MPS raise a plain RuntimeError
    return any(words in said for words in ("can't allocate memory", "not enough memory", "out of memory"))

"""The parts that sit inside ``model.generate``: one records, one draws the token, one listens, one stops.

transformers runs the checkpoint's own logits processors first, then custom ones, then temperature, top-k
and top-p (``GenerationMixin._get_logits_processor``), so `Recorder` sees the model's own logits. The
drawing is done here too, by transformers' own warpers but from a generator of our own: the global random
state is never touched, whatever thread runs.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from transformers.generation.logits_process import (
    LogitsProcessor,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)
from transformers.generation.stopping_criteria import StoppingCriteria
from transformers.generation.streamers import BaseStreamer

from .reply import Alternative
from .transcript import Record

if TYPE_CHECKING:
    import threading

    from ...trace.tokens.vocabulary import Vocabulary
    from .sampling import Sampling


#: A recorded step on the device: log-probability, entropy and best log-probabilities; the best ids.
Step = tuple[torch.Tensor, torch.Tensor]


class Stopped(Exception):
    """Raised inside the model to leave it when somebody asked to stop."""


class Recorder(LogitsProcessor):
    """Keeps the top of each distribution, its entropy, and, until the token is known, its one row.

    Parameters
    ----------
    pieces
        The vocabulary, to name alternatives.
    top_logprobs
        How many of the likeliest tokens to keep.
    """

    def __init__(self, pieces: Vocabulary, top_logprobs: int) -> None:
        self._pieces = pieces
        self._alternatives = top_logprobs
        # One step is in flight; two on devices where transformers reads tokens a step late.
        self._rows: deque[tuple[torch.Tensor, torch.Tensor, torch.Tensor]] = deque()

    def __call__(self, _: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """Record the scores ``(1, vocabulary)`` and pass them on."""
        logprobs = torch.log_softmax(scores[0], dim=-1)  # (vocabulary,), fp32
        entropy = torch.special.entr(logprobs.exp()).sum()
        best = logprobs.topk(min(self._alternatives, logprobs.numel()))
        self._rows.append((logprobs, torch.cat([entropy[None], best.values]), best.indices))
        return scores

    def take(self, index: int) -> Step:
        """Return what was recorded for the oldest step, now that its token is known, without waiting."""
        logprobs, numbers, ids = self._rows.popleft()
        return torch.cat([logprobs[index, None], numbers]), ids

    def read(self, steps: Sequence[Step]) -> list[Record]:
        """Return steps as plain values: one transfer for all, since each one waits for the device."""
        if not steps:
            return []
        numbers = torch.stack([step[0] for step in steps]).tolist()
        ids = torch.stack([step[1] for step in steps]).tolist()
        return [
            Record(logprob, entropy, tuple(map(self._alternative, best, values)))
            for (logprob, entropy, *values), best in zip(numbers, ids, strict=True)
        ]

    def _alternative(self, index: int, logprob: float) -> Alternative:
        return Alternative(index, self._pieces.name(index), logprob)


class SampleToken(LogitsProcessor):
    """Draws the next token and leaves it as the only one possible, so that ``generate`` takes it.

    Parameters
    ----------
    sampling
        Temperature, top-k, top-p; greedy draws nothing.
    seed
        Of the generator, which is made on the device of the scores.
    suppressed
        Ids that the checkpoint's generation config forbids.
    """

    def __init__(self, sampling: Sampling, seed: int | None, suppressed: Sequence[int] = ()) -> None:
        self._suppressed = list(suppressed)
        self._seed = seed
        self._generator: torch.Generator | None = None
        self._draws = sampling.do_sample
        self._warpers: list[Any] = []
        if not sampling.do_sample:
            return
        if sampling.temperature != 1:
            self._warpers.append(TemperatureLogitsWarper(float(sampling.temperature)))
        if sampling.top_k:
            self._warpers.append(TopKLogitsWarper(int(sampling.top_k)))
        if sampling.top_p < 1:
            self._warpers.append(TopPLogitsWarper(float(sampling.top_p)))

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """Return scores ``(1, vocabulary)`` in which the drawn token alone is possible."""
        if self._suppressed:
            scores = scores.index_fill(1, torch.tensor(self._suppressed, device=scores.device), -torch.inf)
        if not self._draws:
            return scores
        for warper in self._warpers:
            scores = warper(input_ids, scores)
        if self._generator is None:
            self._generator = torch.Generator(scores.device)
            if self._seed is not None:
                self._generator.manual_seed(self._seed)
        chosen = torch.multinomial(scores.softmax(dim=-1), 1, generator=self._generator)
        return torch.full_like(scores, -torch.inf).scatter_(1, chosen, 0.0)


class TokenStreamer(BaseStreamer):
    """Hands on each new token's id; the prompt, which comes first, is skipped."""

    def __init__(self, heard: Callable[[int], None]) -> None:
        self._heard = heard
        self._begun = False

    def put(self, value: torch.Tensor) -> None:  # type: ignore[no-untyped-def,unused-ignore]
        """Take the prompt, then one token at a time."""
        if self._begun:
            self._heard(int(value.reshape(-1)[0]))
        self._begun = True

    def end(self) -> None:
        """Do nothing: the end is seen where ``generate`` returns."""


class StopOnEvent(StoppingCriteria):
    """Ends the generation after the current token once any of the events is set."""

    def __init__(self, events: Sequence[threading.Event]) -> None:
        self._events = events

    def __call__(self, input_ids: torch.Tensor, *_: Any, **__: Any) -> torch.Tensor:
        """Return ``(batch,)``: whether each sequence is to end here."""
        done = any(event.is_set() for event in self._events)
        return torch.full((input_ids.shape[0],), done, device=input_ids.device, dtype=torch.bool)


@contextmanager
def leaving_early(model: Any, events: Sequence[threading.Event]) -> Iterator[None]:
    """Let the model be left between two layers, so that a long prompt need not be read to its end first.

    Raises `Stopped` out of the model when one of the events is set. The hooks are gone afterwards.
    """

    def check(*_: Any) -> None:
        if any(event.is_set() for event in events):
            raise Stopped

    handles = [layer.register_forward_pre_hook(check) for layer in model.get_decoder().layers]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()

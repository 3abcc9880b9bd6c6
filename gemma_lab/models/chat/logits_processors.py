"""Parts of ``model.generate``: the recorder of log-probabilities, the sampler, the streamer, the stops.

transformers runs the checkpoint's own logits processors first, then custom ones, then temperature, top-k
and top-p (``GenerationMixin._get_logits_processor``), so `LogprobRecorder` receives the model's own logits.
`SampleToken` draws tokens with transformers' own warpers from a separate generator, so that the global random
state is never used, in any thread.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
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

from ...errors import LabError
from ..drafting.drafter import MAX_DRAFT_TOKENS
from .reply import Alternative
from .transcript import Record

if TYPE_CHECKING:
    import threading

    from ..loading.restore import RestoreStack
    from ..tokens.vocabulary import Vocabulary
    from .sampling import Sampling


#: A recorded step on the device: log-probability, entropy and best log-probabilities; the best ids.
Step = tuple[torch.Tensor, torch.Tensor]


class Stopped(Exception):
    """Raised inside the model to end a forward pass when an event was set."""


def check_finite(logits: torch.Tensor, position: int) -> None:
    """Raise `LabError` if one of the logits is NaN or infinite, or if all are minus infinity.

    Minus infinity for some tokens is allowed: the checkpoint's own processors suppress tokens that way.

    Parameters
    ----------
    logits
        ``(…, vocabulary)`` of one token.
    position
        Position of that token in the sequence, for the message.
    """
    if not bool(torch.isfinite(logits.max())):  # NaN propagates through the maximum
        raise LabError(
            f"The logits of token {position:,} are not finite numbers.",
            hint="The model overflows or its weights are broken: load it in bfloat16 or float32, and without "
            "edits; gl.load checks a sample of the weights.",
        )


class LogprobRecorder(LogitsProcessor):
    """Record the likeliest tokens and the entropy of each distribution.

    Parameters
    ----------
    vocabulary
        Vocabulary, for the names of the alternatives.
    top_logprobs
        How many of the likeliest tokens to record.
    """

    def __init__(self, vocabulary: Vocabulary, top_logprobs: int) -> None:
        self._vocabulary = vocabulary
        self._top_logprobs = top_logprobs
        # By length of the sequence before the token, ascending: a position behind a rejected draft is
        # recorded again. Few are pending: a pass with drafts, and two passes where transformers reads late.
        self._rows: dict[int, tuple[torch.Tensor, torch.Tensor, torch.Tensor]] = {}

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """Record the scores ``(1, vocabulary)`` and pass them on."""
        check_finite(scores, input_ids.shape[1] - 1)
        logprobs = torch.log_softmax(scores[0], dim=-1)  # (vocabulary,), fp32
        entropy = torch.special.entr(logprobs.exp()).sum()
        best = logprobs.topk(min(self._top_logprobs, logprobs.numel()))
        self._rows[input_ids.shape[1]] = logprobs, torch.cat([entropy[None], best.values]), best.indices
        return scores

    def logprobs(self, length: int) -> torch.Tensor:
        """Return the log-probabilities ``(vocabulary,)`` after that many tokens, until `take` is called."""
        return self._rows[length][0]

    def take(self, index: int) -> Step:
        """Return what was recorded for the first step left, now that its token is known, without waiting."""
        logprobs, numbers, ids = self._rows.pop(min(self._rows))
        return torch.cat([logprobs[index, None], numbers]), ids

    def read(self, steps: Sequence[tuple[int, Step]]) -> list[Record]:
        """Return steps as plain values: one transfer for all, since each one waits for the device.

        Parameters
        ----------
        steps
            The token that was chosen and what `take` returned for it.
        """
        if not steps:
            return []
        numbers = torch.stack([step[0] for _, step in steps]).tolist()
        ids = torch.stack([step[1] for _, step in steps]).tolist()
        return [
            Record(
                logprob,
                entropy,
                tuple(map(self._alternative, chosen_first(chosen, logprob, best, values), values)),
            )
            for (chosen, _), (logprob, entropy, *values), best in zip(steps, numbers, ids, strict=True)
        ]

    def _alternative(self, index: int, logprob: float) -> Alternative:
        return Alternative(index, self._vocabulary.name(index), logprob)


def chosen_first(chosen: int, logprob: float, ids: list[int], values: list[float]) -> list[int]:
    """Return the likeliest ids with the chosen one first among equally likely ones.

    In bfloat16 several tokens often have the same logit, and ``topk`` and ``argmax`` order them differently.

    Parameters
    ----------
    chosen, logprob
        The token that was chosen and its log-probability.
    ids, values
        The likeliest tokens and their log-probabilities, descending.
    """
    if logprob not in values:
        return ids
    first = values.index(logprob)
    others = [each for each in ids if each != chosen]
    return [*others[:first], chosen, *others[first:]][: len(ids)]


class SampleToken(LogitsProcessor):
    """Draws the next token and gives all others no probability, so that ``generate`` takes it.

    Parameters
    ----------
    sampling
        Temperature, top-k, top-p; greedy draws nothing.
    seed
        Of the generator, which is made on the device of the scores.
    suppressed
        Ids that the checkpoint's generation config forbids.
    rewinds
        Whether positions behind a rejected draft come again: each is then drawn with the same random numbers,
        so that a seed gives the same answer with and without drafts.
    """

    def __init__(
        self,
        sampling: Sampling,
        seed: int | None,
        suppressed: Sequence[int] = (),
        *,
        rewinds: bool = False,
    ) -> None:
        self._rewinds = rewinds
        self._suppressed = list(suppressed)
        self._seed = seed
        self._generator: torch.Generator | None = None
        self._draws = sampling.do_sample
        # generator's state by length of the sequence before the token, of the positions that may come again
        self._states: dict[int, torch.Tensor] = {}
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
        """Return scores ``(1, vocabulary)`` in which only the drawn token is possible."""
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
        if self._rewinds:
            self._rewind(self._generator, input_ids.shape[1])
        chosen = torch.multinomial(scores.softmax(dim=-1), 1, generator=self._generator)
        return torch.full_like(scores, -torch.inf).scatter_(1, chosen, 0.0)

    def _rewind(self, generator: torch.Generator, length: int) -> None:
        """Set the generator to its state when this position was drawn first."""
        self._states.pop(length - MAX_DRAFT_TOKENS - 1, None)  # before the present pass: certain
        if length in self._states:
            generator.set_state(self._states[length])
        else:
            self._states[length] = generator.get_state()


class TokenStreamer(BaseStreamer):
    """Calls back with the ids of each pass; the prompt, which comes first, is skipped."""

    def __init__(self, on_ids: Callable[[list[int]], None]) -> None:
        self._on_ids = on_ids
        self._begun = False

    def put(self, value: torch.Tensor) -> None:  # type: ignore[no-untyped-def,unused-ignore]
        """Take the prompt, then one token at a time; several where drafts were accepted."""
        if self._begun:
            self._on_ids(value.reshape(-1).tolist())
        self._begun = True

    def end(self) -> None:
        """Do nothing: ``generate`` returns at the end."""


class StopOnEvent(StoppingCriteria):
    """Ends the generation after the current token once any of the events is set."""

    def __init__(self, events: Sequence[threading.Event]) -> None:
        self._events = events

    def __call__(self, input_ids: torch.Tensor, *_: Any, **__: Any) -> torch.Tensor:
        """Return ``(batch,)``: whether each sequence is to end here."""
        done = any(event.is_set() for event in self._events)
        return torch.full((input_ids.shape[0],), done, device=input_ids.device, dtype=torch.bool)


class StopOnString(StoppingCriteria):
    """Ends the generation once the text of the answer contains a stop string.

    Control tokens are part of that text by their names.

    Parameters
    ----------
    vocabulary
        Bytes and names of tokens.
    strings
        The stop strings.
    prompt
        Tokens of the prompt, which come before the answer.
    """

    def __init__(self, vocabulary: Vocabulary, strings: Sequence[str], *, prompt: int) -> None:
        self._vocabulary = vocabulary
        self._strings = [text.encode() for text in strings]
        self._longest = max(map(len, self._strings), default=0)
        self._tail = b""
        self._prompt, self._read = prompt, 0
        #: Length of the answer, in tokens, at which a stop string was complete; None if there was none.
        self.end: int | None = None

    def __call__(self, input_ids: torch.Tensor, *_: Any, **__: Any) -> torch.Tensor:
        """Return ``(batch,)``: whether each sequence is to end here."""
        if self._strings:
            for number, index in enumerate(input_ids[0, self._prompt + self._read :].tolist(), self._read):
                self.read(number, index)
        done = self.end is not None
        return torch.full((input_ids.shape[0],), done, device=input_ids.device, dtype=torch.bool)

    def read(self, number: int, index: int) -> None:
        """Read a token of the answer, the `number`-th from 0, unless it was read before."""
        if not self._strings or number < self._read:
            return
        self._read = number + 1
        special = self._vocabulary.is_special(index)
        name = self._vocabulary.name(index).encode() if special else self._vocabulary.bytes(index)
        text = self._tail + name
        if self.end is None and any(each in text for each in self._strings):
            self.end = self._read
        self._tail = text[-(self._longest - 1) :] if self._longest > 1 else b""


def stop_between_layers(model: Any, stopped: Callable[[], bool], restore: RestoreStack) -> None:
    """Raise `Stopped` between two layers once `stopped` is true, so that a long prompt need not be finished.

    Parameters
    ----------
    model
        A model of transformers.
    stopped
        Whether to stop; called before every layer.
    restore
        Removes the hooks.
    """

    def check(*_: Any) -> None:
        if stopped():
            raise Stopped

    for layer in model.get_decoder().layers:
        restore.hook(layer, check, before=True)

"""A logits processor that forbids what a grammar does not allow, and keeps what it overruled."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from transformers.generation.logits_process import LogitsProcessor

from ...errors import BadSchema

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .engine import Grammar


class Step(NamedTuple):
    """Effect of a grammar at one position; see `gemma_lab.models.chat.reply.Overruled`."""

    forbidden: float
    first_choice: int
    changed: bool


class GrammarProcessor(LogitsProcessor):
    """Sets the scores of forbidden tokens to −inf, one sequence at a time.

    It follows the answer through the ids that transformers passes: the first call has the prompt. With a
    drafter, ids may end in drafts that are rejected later: they are taken back then.

    Parameters
    ----------
    grammar
        What the answer may be.
    logprobs
        Returns the log-probabilities ``(vocabulary,)`` of the next token after a number of tokens, where they
        are known already. By default they are computed, which takes longer than all the rest.
    """

    def __init__(self, grammar: Grammar, logprobs: Callable[[int], torch.Tensor] | None = None) -> None:
        from llguidance import torch as engine

        self._engine = engine
        self._matcher = grammar.matcher()
        self._mask = engine.allocate_token_bitmask(1, grammar.size)
        self._logprobs = logprobs
        # by length of the sequence before the token: a position behind a rejected draft comes again
        self._steps: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}
        self._prompt: int | None = None  # tokens of the prompt
        self._read: list[int] = []  # tokens of the answer that were read
        self._consumed = 0  # how many of them the matcher has consumed

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """Set the scores of forbidden tokens in scores ``(1, vocabulary)``, and return them."""
        length = input_ids.shape[1]
        if self._prompt is None:
            self._prompt = length
        if not self._follow(input_ids[0, self._prompt :].tolist()):
            return scores  # a draft that the grammar forbids comes before: this position will be rejected
        self._engine.fill_next_token_bitmask(self._matcher, self._mask, 0)
        fault = self._matcher.get_error()
        if fault:
            raise BadSchema(f"The grammar stopped: {fault[:300]}.", hint="Simplify the schema.")
        bits = np.unpackbits(self._mask[0].numpy().view(np.uint8), bitorder="little")
        self._steps[length] = self._bind(scores, bits[: scores.shape[-1]].view(np.bool_), length)
        return scores

    def _bind(
        self, scores: torch.Tensor, allowed: NDArray[np.bool_], length: int
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Set the scores of forbidden tokens in place; return the effect and the first choice.

        Mostly almost all of a large vocabulary is allowed, or almost nothing: only the ids of the smaller
        part are sent to the device and written. New arrays of the vocabulary's size would take longer.
        """
        few_are_allowed = 2 * int(np.count_nonzero(allowed)) < len(allowed)
        listed = np.flatnonzero(allowed if few_are_allowed else ~allowed)
        part = torch.from_numpy(listed).to(scores.device)
        first = _argmax(scores[0])
        in_part = (part == first).any()
        if self._logprobs is None:
            logprobs = torch.log_softmax(scores[0].float(), dim=-1)
        else:
            logprobs = self._logprobs(length)
        of_part = logprobs[part].exp().sum()
        if few_are_allowed:
            kept = scores[0, part]
            scores.fill_(-torch.inf)
            scores[0, part] = kept
            return torch.stack([1 - of_part, (~in_part).float()]), first
        scores.index_fill_(1, part, -torch.inf)
        return torch.stack([of_part, in_part.float()]), first

    def take(self) -> Step:
        """Return the effect of the grammar at the first position that was not taken yet."""
        numbers, first = self._steps.pop(min(self._steps))
        forbidden, changed = numbers.tolist()
        return Step(min(max(forbidden, 0.0), 1.0), int(first), bool(changed))

    def _follow(self, answer: list[int]) -> bool:
        """Bring the matcher to the end of an answer; return whether the grammar allows all of it."""
        same = min(len(self._read), len(answer))
        while self._read[:same] != answer[:same]:  # a pass has a few drafts at most
            same -= 1
        if self._consumed > same:
            self._matcher.rollback(self._consumed - same)
            self._consumed = same
        self._read = answer
        for token in answer[self._consumed :]:
            if self._matcher.is_stopped():
                return True
            if not self._matcher.try_consume_tokens([token]):
                return False
            self._consumed += 1
        return True


def _argmax(scores: torch.Tensor) -> torch.Tensor:
    """Return the index of the largest score; on a CPU with numpy, whose argmax is ten times as fast."""
    if scores.device.type != "cpu" or scores.dtype not in (torch.float32, torch.float64):
        return scores.argmax()
    return torch.tensor(int(scores.numpy().argmax()))

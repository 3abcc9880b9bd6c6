"""A logits processor that forbids what a grammar does not allow, and keeps what it overruled."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, NamedTuple

import torch
from transformers.generation.logits_process import LogitsProcessor

from ...errors import BadSchema

if TYPE_CHECKING:
    from .engine import Grammar


class Step(NamedTuple):
    """Effect of a grammar at one position; see `gemma_lab.models.chat.reply.Overruled`."""

    forbidden: float
    first_choice: int
    changed: bool


class GrammarProcessor(LogitsProcessor):
    """Sets the scores of forbidden tokens to −inf, one sequence at a time.

    It follows the answer through the ids that transformers passes: the first call has the prompt.

    Parameters
    ----------
    grammar
        What the answer may be.
    """

    def __init__(self, grammar: Grammar) -> None:
        from llguidance import torch as engine

        self._engine = engine
        self._matcher = grammar.matcher()
        self._mask = engine.allocate_token_bitmask(1, grammar.size)
        self._steps: deque[tuple[torch.Tensor, torch.Tensor]] = deque()
        self._seen: int | None = None  # tokens that the matcher has consumed, the prompt included

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """Return scores ``(1, vocabulary)`` without the forbidden tokens."""
        if self._seen is not None:
            for token in input_ids[0, self._seen :].tolist():
                if not self._matcher.is_stopped():
                    self._matcher.consume_token(token)
        self._seen = input_ids.shape[1]
        self._engine.fill_next_token_bitmask(self._matcher, self._mask, 0)
        fault = self._matcher.get_error()
        if fault:
            raise BadSchema(f"The grammar stopped: {fault[:300]}.", hint="Simplify the schema.")
        allowed = _bits(self._mask[0], scores.shape[-1]).to(scores.device)
        probabilities = torch.softmax(scores[0].float(), dim=-1)
        forbidden = probabilities.masked_fill(allowed, 0.0).sum()
        first = scores[0].argmax()
        self._steps.append((torch.stack([forbidden, (~allowed[first]).float()]), first))
        return scores.masked_fill(~allowed, -torch.inf)

    def take(self) -> Step:
        """Return the effect of the grammar at the oldest position that was not taken yet."""
        numbers, first = self._steps.popleft()
        forbidden, changed = numbers.tolist()
        return Step(min(max(forbidden, 0.0), 1.0), int(first), bool(changed))


def _bits(mask: torch.Tensor, size: int) -> torch.Tensor:
    """Return packed bits, int32 ``(words,)``, as booleans ``(size,)``, the lowest bit first."""
    shifts = torch.arange(32, dtype=torch.int32)
    return (mask[:, None].bitwise_right_shift(shifts) & 1).bool().reshape(-1)[:size]

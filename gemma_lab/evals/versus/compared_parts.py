"""The parts of a comparison, as the tables, the figures and `Versus` read them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ...analysis.attention.distance import AttentionDistance
    from ...analysis.experts.flips import RoutingFlips
    from ...trace.trace import Trace
    from .answers import AnswerPair, TokenDivergence
    from .checkups import CheckupComparison
    from .resources import MemoryComparison, SpeedComparison

    Ints = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class ComparedParts:
    """What was compared of two models; `Versus` documents it.

    Attributes
    ----------
    names, descriptions
        Title of each side, and one line about each model.
    answers
        The greedy answers of both to each prompt.
    checkup
        The check-ups, question by question.
    tokens
        Divergence of the next-token distributions.
    routing, routing_noise
        Routing flips of every token that both read, ``[layers, M]``; and those of the first model with
        itself, reading in two passes.
    attention, attention_noise
        Distance of attention rows, and that of the first model with itself.
    memory
        Bytes of the weights by part.
    speed
        Tokens per second.
    columns
        Prompt, row in the first trace and row in the second of each of the M tokens, ``[M, 3]``.
    traces
        Of each prompt the reading of the first and of the second model; None where one has none.
    vocabulary
        Id → text of the tokens that the comparison names.
    absent
        Part → why it is None, or what it leaves out.
    """

    names: tuple[str, str]
    descriptions: tuple[str, str]
    answers: tuple[AnswerPair, ...]
    checkup: CheckupComparison | None
    tokens: TokenDivergence | None
    routing: RoutingFlips | None
    routing_noise: RoutingFlips | None
    attention: AttentionDistance | None
    attention_noise: AttentionDistance | None
    memory: MemoryComparison | None
    speed: SpeedComparison | None
    columns: Ints = field(repr=False)
    traces: tuple[tuple[Trace | None, Trace | None], ...] = field(repr=False)
    vocabulary: Mapping[int, str] = field(default_factory=dict, repr=False)
    absent: Mapping[str, str] = field(default_factory=dict)

    @property
    def equal_answers(self) -> tuple[int, int]:
        """Number of prompts with the same answer, and of those that both answered."""
        compared = [pair.equal for pair in self.answers if pair.equal is not None]
        return sum(compared), len(compared)

    @property
    def reported_kl(self) -> NDArray[np.float64]:
        """The `AnswerPair.kl_bounds` of all answers; empty unless one side is a server."""
        return np.asarray([bound for pair in self.answers for bound in pair.kl_bounds], dtype=float)

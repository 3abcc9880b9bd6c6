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
    """What was compared of two models; `gemma_lab.evals.versus.comparison.Versus` lists the attributes."""

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

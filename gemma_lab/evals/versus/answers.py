"""The answers of two models to the same prompts, and how far they diverge token by token."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from ...display import Displayed
from ..statistics import clustered_mean_interval, clustered_proportion_interval

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]


@dataclass(frozen=True)
class AnswerPair:
    """The greedy answers of both sides to one prompt.

    Attributes
    ----------
    prompt
        The prompt, shortened.
    first, second
        Text and tool calls of each answer; None where a side could not answer.
    same_tokens
        Number of tokens that both answers begin with, as ids; None where ids are not comparable.
    tokens
        Tokens of each answer.
    note
        Why an answer is missing; ``""`` otherwise.
    kl_bounds
        Lower bounds of KL(first ‖ second), nats, of the tokens that both answers begin with and the one at
        which they part, from the reported log-probabilities (`gemma_lab.analysis.kl_bound`). Only beside a
        server, of which no more is known.
    """

    prompt: str
    first: str | None
    second: str | None
    same_tokens: int | None = None
    tokens: tuple[int | None, int | None] = (0, 0)
    note: str = ""
    kl_bounds: tuple[float, ...] = ()

    @property
    def equal(self) -> bool | None:
        """Whether both texts are the same; None where one is missing."""
        return None if self.first is None or self.second is None else self.first == self.second


@dataclass(frozen=True, eq=False)
class TokenDivergence(Displayed):
    """Next-token distributions of two models that read the same answers; N tokens of the answers.

    Both models read each prompt with the first model's greedy answer, or the answers that were passed, so
    that every token is predicted from the same tokens. All of the vocabulary is compared.

    Attributes
    ----------
    prompt
        Index of the prompt of each token, ``[N]``.
    row, column
        Row of its trace from which the token is predicted, and index of that row among the tokens of the
        comparison (`Versus.columns`), ``[N]``.
    ids, labels
        The token that the answer has there: its id ``[N]`` and its text.
    kl
        KL(first ‖ second), nats, ``[N]``.
    top_ids
        The likeliest token of each model, ``[N, 2]``.
    logprobs
        Log-probability of the answer's token under each model, nats, ``[N, 2]``.
    noise
        `kl` of the first model with itself, reading prompt and answer in two passes instead of one, ``[N]``:
        what rounding alone makes.
    noise_agreement
        Fraction of tokens at which those two readings have the same likeliest token.
    chance_agreement
        Fraction at which the likeliest tokens were the same if positions were paired at random.
    uniform_kl
        Mean KL of the first model's distributions from the uniform one, nats.
    """

    prompt: Ints
    row: Ints
    column: Ints
    ids: Ints
    labels: tuple[str, ...] = field(repr=False)
    kl: Floats = field(repr=False)
    top_ids: Ints = field(repr=False)
    logprobs: Floats = field(repr=False)
    noise: Floats = field(repr=False)
    noise_agreement: float
    chance_agreement: float
    uniform_kl: float

    def __len__(self) -> int:
        """Return the number of tokens."""
        return len(self.kl)

    @property
    def same_top(self) -> NDArray[np.bool_]:
        """Whether both models have the same likeliest token, ``[N]``."""
        return np.asarray(self.top_ids[:, 0] == self.top_ids[:, 1])

    @property
    def mean_kl(self) -> float:
        """Mean of `kl` over the tokens, nats."""
        return float(self.kl.mean())

    @cached_property
    def mean_kl_interval(self) -> tuple[float, float]:
        """95 % bootstrap interval of `mean_kl` over prompts; NaN for a single prompt."""
        return clustered_mean_interval(self.kl, self.prompt)

    @property
    def agreement(self) -> float:
        """Fraction of tokens at which both have the same likeliest token (top-1 agreement)."""
        return float(self.same_top.mean())

    @property
    def agreement_interval(self) -> tuple[float, float]:
        """95 % interval of `agreement`: Wilson's, at the effective number of tokens."""
        return clustered_proportion_interval(self.same_top, self.prompt)

    @property
    def logprob_change(self) -> float:
        """Mean of second − first of `logprobs`, nats per token."""
        return float((self.logprobs[:, 1] - self.logprobs[:, 0]).mean())

    def to_pandas(self) -> Any:
        """Return one row per token: its prompt, row and text, and the arrays of this result."""
        import pandas as pd

        return pd.DataFrame(
            {
                "prompt": self.prompt,
                "row": self.row,
                "token": self.labels,
                "kl": self.kl,
                "same_top": self.same_top,
                "first_logprob": self.logprobs[:, 0],
                "second_logprob": self.logprobs[:, 1],
                "noise": self.noise,
            }
        )

    def __repr__(self) -> str:
        low, high = self.mean_kl_interval
        of_kl = "" if math.isnan(low) else f" ({low:.3g} to {high:.3g})"
        below, above = self.agreement_interval
        return (
            f"TokenDivergence({len(self):,} tokens: mean KL {self.mean_kl:.3g} nats{of_kl}, rounding "
            f"{self.noise.mean():.2g}; same likeliest token {self.agreement:.1%} ({below:.1%} to "
            f"{above:.1%}), by chance {self.chance_agreement:.1%})"
        )

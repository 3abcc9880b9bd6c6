"""Parts of a comparison as values: answers, token divergence, check-up, memory and speed."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from ...display import Displayed
from ..statistics import (
    PairedAnswers,
    clustered_mean_interval,
    clustered_proportion_interval,
    holm,
    paired_difference_interval,
    wilson_interval,
)

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


@dataclass(frozen=True)
class SkillComparison:
    """One skill of the check-up in both models.

    Attributes
    ----------
    skill
        Its name.
    answers
        Who answered which question correctly.
    chance
        Accuracy of guessing, 0 to 1; None if unknown.
    adjusted
        P value of McNemar's exact test, adjusted for all skills that were compared (Holm).
    """

    skill: str
    answers: PairedAnswers
    chance: float | None
    adjusted: float

    @property
    def asked(self) -> int:
        """Number of questions that both were asked."""
        table = self.answers
        return table.both + table.first + table.second + table.neither

    @property
    def accuracies(self) -> tuple[float, float]:
        """Accuracy of each model, 0 to 1."""
        table = self.answers
        return (table.both + table.first) / self.asked, (table.both + table.second) / self.asked

    @property
    def intervals(self) -> tuple[tuple[float, float], tuple[float, float]]:
        """95 % Wilson interval of each accuracy."""
        table = self.answers
        right = (table.both + table.first, table.both + table.second)
        return wilson_interval(right[0], self.asked), wilson_interval(right[1], self.asked)

    @property
    def difference_interval(self) -> tuple[float, float]:
        """95 % interval of the difference of the accuracies, second − first."""
        return paired_difference_interval(self.answers.first, self.answers.second, self.asked)


@dataclass(frozen=True)
class CheckupComparison(Displayed):
    """The check-ups of both models, question by question.

    Attributes
    ----------
    skills
        The skills that both were asked.
    not_compared
        Skill → why it is missing.
    """

    skills: tuple[SkillComparison, ...]
    not_compared: Mapping[str, str] = field(default_factory=dict)

    @property
    def overall(self) -> PairedAnswers:
        """Who answered which question correctly, over all skills."""
        tables = [skill.answers for skill in self.skills]
        return PairedAnswers(
            *(
                sum(getattr(table, name) for table in tables)
                for name in ("both", "first", "second", "neither")
            )
        )

    @property
    def asked(self) -> int:
        """Number of questions that both were asked."""
        return sum(skill.asked for skill in self.skills)

    @property
    def means(self) -> tuple[float, float]:
        """Mean accuracy over the skills of each model, 0 to 1."""
        return (
            float(np.mean([skill.accuracies[0] for skill in self.skills])),
            float(np.mean([skill.accuracies[1] for skill in self.skills])),
        )

    @property
    def changed(self) -> tuple[SkillComparison, ...]:
        """The skills whose adjusted p value is below 0.05."""
        return tuple(skill for skill in self.skills if skill.adjusted < 0.05)

    def to_pandas(self) -> Any:
        """Return one row per skill: accuracies, the difference with its interval, p values, chance."""
        import pandas as pd

        rows = []
        for skill in self.skills:
            first, second = skill.accuracies
            low, high = skill.difference_interval
            rows.append(
                {
                    "skill": skill.skill, "questions": skill.asked, "first": first, "second": second,
                    "difference": second - first, "low": low, "high": high,
                    "only_first": skill.answers.first, "only_second": skill.answers.second,
                    "p": skill.answers.p_value, "p_adjusted": skill.adjusted, "chance": skill.chance,
                }
            )  # fmt: skip
        return pd.DataFrame(rows)

    def __repr__(self) -> str:
        table = self.overall
        first, second = self.means
        names = ", ".join(skill.skill for skill in self.changed) or "no skill"
        return (
            f"CheckupComparison({self.asked:,} questions, {len(self.skills)} skills: mean accuracy "
            f"{first:.1%} and {second:.1%}, only the first correct {table.first}, only the second "
            f"{table.second}; significant after Holm: {names})"
        )


def compare_checkups(
    tables: Mapping[str, PairedAnswers], *, chance: Mapping[str, float], not_compared: Mapping[str, str]
) -> CheckupComparison:
    """Return the comparison of paired answers by skill, with adjusted p values."""
    adjusted = holm([table.p_value for table in tables.values()])
    return CheckupComparison(
        tuple(
            SkillComparison(skill, table, chance.get(skill), p)
            for (skill, table), p in zip(tables.items(), adjusted, strict=True)
        ),
        dict(not_compared),
    )


@dataclass(frozen=True)
class MemoryComparison(Displayed):
    """Bytes that the weights of each model take, by part.

    Attributes
    ----------
    first, second
        Part → bytes of its parameters and buffers; a tensor that is used twice counts once.
    """

    first: Mapping[str, int]
    second: Mapping[str, int]

    @property
    def parts(self) -> tuple[str, ...]:
        """The parts of both, in order."""
        return tuple(dict.fromkeys([*self.first, *self.second]))

    @property
    def totals(self) -> tuple[int, int]:
        """Bytes of all parts of each model."""
        return sum(self.first.values()), sum(self.second.values())

    def to_pandas(self) -> Any:
        """Return one row per part: first and second in bytes, and their ratio."""
        import pandas as pd

        rows = [(part, self.first.get(part, 0), self.second.get(part, 0)) for part in self.parts]
        frame = pd.DataFrame(rows, columns=["part", "first", "second"])
        frame["ratio"] = frame["second"] / frame["first"].where(frame["first"] > 0)
        return frame

    def __repr__(self) -> str:
        first, second = self.totals
        ratio = f", × {second / first:.2f}" if first else ""
        return f"MemoryComparison({first / 1e6:,.1f} MB and {second / 1e6:,.1f} MB of weights{ratio})"


@dataclass(frozen=True, eq=False)
class SpeedComparison(Displayed):
    """Speed of both models at the same prompts, over R rounds.

    Attributes
    ----------
    decoding
        Tokens per second of each round and model, after the first token of each answer, ``[R, 2]``.
    prefill
        Prompt tokens per second until the first token, ``[R, 2]``; NaN for a server.
    alternated
        Whether both were measured in turn, in changing order, with both in memory. Otherwise one was measured
        after the other, and what else the machine did counts for one of them.
    whole
        Whether `decoding` is of whole answers, prefill included: a server tells no other times.
    """

    decoding: Floats
    prefill: Floats
    alternated: bool
    whole: bool = False

    @property
    def unit(self) -> str:
        """What `decoding` is: ``"decoding, tokens/s"``, or of whole answers."""
        return "whole answers, tokens/s" if self.whole else "decoding, tokens/s"

    @property
    def rounds(self) -> int:
        """R."""
        return len(self.decoding)

    @property
    def medians(self) -> tuple[float, float]:
        """Median tokens per second of decoding of each model."""
        first, second = np.median(self.decoding, axis=0)
        return float(first), float(second)

    @property
    def ratios(self) -> Floats:
        """Second ÷ first of each round, ``[R]``."""
        return np.asarray(self.decoding[:, 1] / self.decoding[:, 0])

    @property
    def spread(self) -> float:
        """Largest ÷ smallest tokens per second of the same model over the rounds; NaN for one round."""
        if self.rounds < 2:
            return math.nan
        return float((self.decoding.max(axis=0) / self.decoding.min(axis=0)).max())

    def to_pandas(self) -> Any:
        """Return one row per round and model: tokens per second of decoding and of the prefill."""
        import pandas as pd

        rows = [
            (number, side, self.decoding[number, index], self.prefill[number, index])
            for number in range(self.rounds)
            for index, side in enumerate(("first", "second"))
        ]
        return pd.DataFrame(rows, columns=["round", "side", "decoding", "prefill"])

    def __repr__(self) -> str:
        first, second = self.medians
        how = "in turn" if self.alternated else "one after the other"
        of = " of whole answers" if self.whole else ""
        return (
            f"SpeedComparison({first:.1f} and {second:.1f} tokens/s{of}, × {np.median(self.ratios):.2f} "
            f"({self.ratios.min():.2f} to {self.ratios.max():.2f} over {self.rounds} rounds, measured {how}))"
        )

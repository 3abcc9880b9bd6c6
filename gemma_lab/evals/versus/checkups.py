"""The check-ups of two models, compared question by question."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ...display import Displayed
from ..statistics import PairedAnswers, holm, paired_difference_interval, wilson_interval


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

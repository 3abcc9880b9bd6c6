"""What a check-up found."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from ..display import Displayed
from .statistics import wilson_interval

if TYPE_CHECKING:
    import pandas as pd

    from ..views.base.figure import Plot
    from .questions import Question


@dataclass(frozen=True)
class GradedAnswer:
    """One question, what the model said (text, then calls that it made), and whether that was right."""

    question: Question
    said: str
    right: bool


@dataclass(frozen=True)
class Score:
    """How often a skill, or one group of it, was right.

    Attributes
    ----------
    name
        The skill or the group.
    asked, right
        How many questions.
    chance
        The accuracy of guessing, 0 to 1 (`gemma_lab.evals.questions.chance`); None where it is not known.
    """

    name: str
    asked: int
    right: int
    chance: float | None = None

    @property
    def accuracy(self) -> float:
        """Share that was right, 0 to 1."""
        return self.right / self.asked

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % Wilson interval of `accuracy`."""
        return wilson_interval(self.right, self.asked)


class Checkup(Displayed):
    """The graded answers of one model.

    Parameters
    ----------
    model
        The model's name.
    answers
        What it said.
    not_asked
        Skill -> why it was not asked, e.g. pictures of a model that sees none.
    chance
        Skill -> the accuracy of guessing, 0 to 1.
    """

    def __init__(
        self, model: str, answers: Iterable[GradedAnswer], *, not_asked: Mapping[str, str],
        chance: Mapping[str, float] | None = None,
    ) -> None:  # fmt: skip
        self.model, self.answers, self.not_asked = model, tuple(answers), dict(not_asked)
        self.chance = dict(chance or {})

    @property
    def skills(self) -> list[Score]:
        """One score a skill."""
        scores = _scores(self.answers, [answer.question.skill for answer in self.answers])
        return [replace(score, chance=self.chance.get(score.name)) for score in scores]

    def groups(self, skill: str) -> list[Score]:
        """Return the scores of one skill's groups, e.g. of its languages, by name."""
        chosen = [answer for answer in self.answers if answer.question.skill == skill]
        return sorted(_scores(chosen, [answer.question.group for answer in chosen]), key=lambda s: s.name)

    @property
    def failures(self) -> list[GradedAnswer]:
        """The answers that were not right."""
        return [answer for answer in self.answers if not answer.right]

    def below(self, threshold: float) -> list[Score]:
        """Return the skills whose accuracy is below a threshold, a share from 0 to 1."""
        return [score for score in self.skills if score.accuracy < threshold]

    def to_dict(self) -> dict[str, Any]:
        """Return everything but the pictures as plain values."""
        return {
            "model": self.model,
            "skills": [_plain(score) for score in self.skills],
            "not_asked": self.not_asked,
            "failures": [
                {"skill": a.question.skill, "prompt": a.question.prompt, "answer": a.question.wanted,
                 "said": a.said}
                for a in self.failures
            ],
        }  # fmt: skip

    def to_pandas(self) -> pd.DataFrame:
        """Return one row a question: skill, group, prompt, answer, said, right."""
        import pandas as pd

        return pd.DataFrame(
            [
                {"skill": a.question.skill, "group": a.question.group, "prompt": a.question.prompt,
                 "answer": a.question.wanted, "said": a.said, "right": a.right}
                for a in self.answers
            ]
        )  # fmt: skip

    def failures_figure(self, *, most: int = 12) -> Plot:
        """Return wrong answers, some of every skill, with what was seen, heard or asked, as a figure."""
        from ..views.evals.failures import failures_figure

        return failures_figure(self, most=most)

    def __repr__(self) -> str:
        scores = ", ".join(f"{score.name} {score.right}/{score.asked}" for score in self.skills)
        return f"Checkup({self.model}: {scores or 'nothing asked'})"

    def __str__(self) -> str:
        from ..views.evals.report import checkup_text

        return checkup_text(self)


def _scores(answers: Sequence[GradedAnswer], names: Sequence[str]) -> list[Score]:
    found: dict[str, list[bool]] = {}
    for answer, name in zip(answers, names, strict=True):
        found.setdefault(name, []).append(answer.right)
    return [Score(name, len(right), sum(right)) for name, right in found.items()]


def _plain(score: Score) -> dict[str, Any]:
    return {
        "skill": score.name, "questions": score.asked, "right": score.right,
        "accuracy": score.accuracy, "interval_95": [round(bound, 4) for bound in score.interval],
        "chance": None if score.chance is None else round(score.chance, 4),
    }  # fmt: skip

"""Results of a check-up."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from ..display import Displayed
from .score import Score

if TYPE_CHECKING:
    import pandas as pd

    from .questions import Question

#: Columns of the scores, in text and tables.
COLUMNS = ("skill", "questions", "accuracy", "95 % interval", "chance")


@dataclass(frozen=True)
class GradedAnswer:
    """A question, the reply (text, then tool calls), and whether it is correct."""

    question: Question
    reply: str
    right: bool


class Checkup(Displayed):
    """Graded answers of one model.

    Parameters
    ----------
    model
        Name of the model.
    answers
        Its graded answers.
    not_asked
        Skill → why it was skipped, e.g. images for a model without image input.
    chance
        Skill → accuracy of guessing, 0 to 1.
    structured
        Skill (``"calls"``, ``"json"``) → its answers without and with a grammar.
    """

    def __init__(
        self,
        model: str,
        answers: Iterable[GradedAnswer],
        *,
        not_asked: Mapping[str, str],
        chance: Mapping[str, float] | None = None,
        structured: Mapping[str, Any] | None = None,
    ) -> None:
        self.model, self.answers, self.not_asked = model, tuple(answers), dict(not_asked)
        self.chance, self.structured = dict(chance or {}), dict(structured or {})

    @property
    def skills(self) -> list[Score]:
        """One score per skill; two for a skill of `structured`, ``"calls"`` and ``"calls with grammar"``."""
        scores = _scores(self.answers, [answer.question.skill for answer in self.answers])
        found = [replace(score, chance=self.chance.get(score.name)) for score in scores]
        for name, (skill, grammar) in self._conditions().items():
            found += [
                replace(score, name=name) for score in self.structured[skill].scores(grammar=grammar)[-1:]
            ]
        return found

    def groups(self, skill: str) -> list[Score]:
        """Return the scores of one skill's groups, e.g. its languages, by name."""
        if skill in self._conditions():
            name, grammar = self._conditions()[skill]
            return [score for score in self.structured[name].scores(grammar=grammar) if score.name != "all"]
        chosen = [answer for answer in self.answers if answer.question.skill == skill]
        return sorted(_scores(chosen, [answer.question.group for answer in chosen]), key=lambda s: s.name)

    def _conditions(self) -> dict[str, tuple[str, bool]]:
        """Return name of each score of `structured` → its skill, and whether a grammar bound it."""
        names = {False: "", True: " with grammar"}
        return {
            f"{skill}{names[bound]}": (skill, bound) for skill in self.structured for bound in (False, True)
        }

    @property
    def failures(self) -> list[GradedAnswer]:
        """The wrong answers; those of ``structured[skill]`` are there."""
        return [answer for answer in self.answers if not answer.right]

    def below(self, threshold: float) -> list[Score]:
        """Return the skills whose accuracy is below a threshold, 0 to 1."""
        return [score for score in self.skills if score.accuracy < threshold]

    def to_dict(self) -> dict[str, Any]:
        """Return everything except the media as plain values."""
        return {
            "model": self.model,
            "skills": [_plain(score) for score in self.skills],
            "not_asked": self.not_asked,
            "failures": [
                {"skill": a.question.skill, "prompt": a.question.prompt, "answer": a.question.wanted,
                 "reply": a.reply}
                for a in self.failures
            ],
            **({"structured": {name: each.to_dict() for name, each in self.structured.items()}}
               if self.structured else {}),
        }  # fmt: skip

    def to_pandas(self) -> pd.DataFrame:
        """Return one row per question: skill, group, prompt, answer, reply, right."""
        import pandas as pd

        return pd.DataFrame(
            [
                {"skill": a.question.skill, "group": a.question.group, "prompt": a.question.prompt,
                 "answer": a.question.wanted, "reply": a.reply, "right": a.right}
                for a in self.answers
            ]
        )  # fmt: skip

    def rows(self) -> list[tuple[str, ...]]:
        """Return the scores as formatted cells under `COLUMNS`."""
        rows: list[tuple[str, ...]] = []
        for score in self.skills:
            low, high = score.interval
            chance = "" if score.chance is None else f"{score.chance:.1%}"
            interval = f"{low:.1%} to {high:.1%}"
            rows.append((score.name, f"{score.asked}", f"{score.accuracy:.1%}", interval, chance))
        return rows

    def __repr__(self) -> str:
        scores = ", ".join(f"{score.name} {score.right}/{score.asked}" for score in self.skills)
        return f"Checkup({self.model}: {scores or 'no questions'})"

    def __str__(self) -> str:
        rows = [COLUMNS, *self.rows()]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = [f"check-up of {self.model}"]
        lines += ["  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]
        lines += [f"{skill}: {each.summary()}" for skill, each in self.structured.items()]
        lines += [f"{skill}: not asked, {reason}" for skill, reason in self.not_asked.items()]
        return "\n".join(lines)


def _scores(answers: Sequence[GradedAnswer], names: Sequence[str]) -> list[Score]:
    graded: dict[str, list[bool]] = {}
    for answer, name in zip(answers, names, strict=True):
        graded.setdefault(name, []).append(answer.right)
    return [Score(name, len(right), sum(right)) for name, right in graded.items()]


def _plain(score: Score) -> dict[str, Any]:
    return {
        "skill": score.name, "questions": score.asked, "right": score.right,
        "accuracy": score.accuracy, "interval_95": [round(bound, 4) for bound in score.interval],
        "chance": None if score.chance is None else round(score.chance, 4),
    }  # fmt: skip

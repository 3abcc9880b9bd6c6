"""The dose curve of a direction: what steering causes, and what it damages, by strength.

The measures are fixed beforehand. Effect: the mean log-probability per token of given target answers, read
after held-out prompts. Damage: right answers of the check-up. The control are random directions of the same
length in every layer: a direction that does no more than they do stands for nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from ..checks import members, no_loaded_model, real_number, short_repr, whole_number
from ..display import Displayed
from ..errors import BadEdit, LabError
from .ablation.answer_scores import AnswerReader, as_example
from .questions import load_questions
from .run import checkup
from .statistics import clustered_mean_interval, wilson_interval
from .structured_skills import split_skills

if TYPE_CHECKING:
    import pandas as pd

    from ..models.loading.loaded_model import LoadedModel
    from ..trace.interventions.attention_knockout import SpanLike
    from ..trace.interventions.direction import Direction
    from ..trace.interventions.steering import Steering
    from .model import EvaluatedModel
    from .report import Checkup

Array = np.ndarray[Any, np.dtype[Any]]

_MAX_STRENGTHS = 41


@dataclass(frozen=True, eq=False)
class DoseCurve(Displayed):
    """Effect and damage of steering by strength, for a direction and for random ones of the same length.

    S strengths, P prompts, R random directions.

    Attributes
    ----------
    model, direction
        Name of the model; the direction's repr.
    strengths
        Ascending, 0 among them, ``[S]``.
    log_probs
        Mean log-probability per token of each target answer, nats, ``[S, P]``.
    reached
        Whether greedy decoding writes the target, bool ``[S, P]``.
    control_log_probs
        The same log-probabilities under each random direction, ``[R, S, P]``.
    right, asked
        Right answers of the check-up, ``[S]``, and how many questions were asked; 0 if none.
    control_right
        The same under the first random direction.
    skills
        Those that were asked.
    """

    model: str
    direction: str
    strengths: tuple[float, ...]
    log_probs: Array
    reached: Array
    control_log_probs: Array
    right: Array
    control_right: Array
    asked: int
    skills: tuple[str, ...]

    @property
    def effects(self) -> Array:
        """Mean change of the target's log-probability per token from strength 0, nats, ``[S]``."""
        values: Array = (self.log_probs - self.log_probs[self._zero]).mean(axis=1)
        return values

    @property
    def control_effects(self) -> Array:
        """The same under each random direction, ``[R, S]``."""
        zero = self.control_log_probs[:, self._zero : self._zero + 1]
        values: Array = (self.control_log_probs - zero).mean(axis=2)
        return values

    @property
    def p(self) -> Array:
        """P value of each effect against the random directions, ``(1 + b) ÷ (1 + R)``, ``[S]``.

        b is the number of random directions whose effect is as large or larger, up or down: a two-sided test.
        """
        larger = (np.abs(self.control_effects) >= np.abs(self.effects)).sum(axis=0)
        values: Array = (1 + larger) / (1 + len(self.control_effects))
        return values

    @property
    def _zero(self) -> int:
        return self.strengths.index(0.0)

    def to_pandas(self) -> pd.DataFrame:
        """Return one row per strength.

        Columns: strength; effect with its 95 % interval over prompts (``low``, ``high``); ``reached``, the
        fraction of targets that greedy decoding writes; ``control_low`` and ``control_high``, the range of
        the random directions' effects; ``p``; and ``score``, ``score_low``, ``score_high`` (Wilson) and
        ``control_score`` of the check-up.
        """
        import pandas as pd

        change = self.log_probs - self.log_probs[self._zero]
        rows = []
        for index, strength in enumerate(self.strengths):
            low, high = clustered_mean_interval(change[index], np.arange(change.shape[1]))
            controls = self.control_effects[:, index]
            row = {
                "strength": strength, "effect": float(self.effects[index]), "low": low, "high": high,
                "reached": float(self.reached[index].mean()), "control_low": float(controls.min()),
                "control_high": float(controls.max()), "p": float(self.p[index]),
            }  # fmt: skip
            if self.asked:
                score_low, score_high = wilson_interval(int(self.right[index]), self.asked)
                row |= {
                    "score": self.right[index] / self.asked, "score_low": score_low,
                    "score_high": score_high, "control_score": self.control_right[index] / self.asked,
                }  # fmt: skip
            rows.append(row)
        return pd.DataFrame(rows)

    def __repr__(self) -> str:
        best = int(np.argmax(self.effects))
        damage = ""
        if self.asked:
            damage = f", check-up {self.right[best]}/{self.asked} ({self.right[self._zero]} without)"
        return (
            f"DoseCurve({self.model}, {self.direction}: at strength {self.strengths[best]:g} "
            f"{self.effects[best]:+.2f} nats per token of {self.log_probs.shape[1]} targets, "
            f"p = {self.p[best]:.3f} of {len(self.control_effects)} random directions{damage})"
        )


def dose_curve(
    lab: LoadedModel,
    direction: Direction,
    targets: Sequence[Any],
    *,
    strengths: Iterable[float] = (-4, -2, -1, 0, 1, 2, 4),
    layers: Iterable[int] | None = None,
    tokens: SpanLike | None = None,
    skills: str | Sequence[str] = (),
    full: bool = False,
    controls: int = 9,
    seed: int = 0,
    progress: bool = True,
) -> DoseCurve:
    """Measure effect and damage of steering along a direction, by strength, against random directions.

    Parameters
    ----------
    lab
        The model.
    direction
        From `gemma_lab.Lab.direction` or `gemma_lab.Lab.expert_direction`.
    targets
        Held-out prompts, each with the answer that steering is to make likelier: pairs, or any form that
        `gemma_lab.Lab.fine_tune` takes. Do not compute the direction from them.
    strengths
        Factors of the direction; 0 is added.
    layers, tokens
        As of `gemma_lab.Steering`.
    skills
        Skills of the check-up, or one, that are asked at every strength, for the damage. Default: none.
        ``lab.last_checkup`` stays as it was: these answers are of a steered model.
    full
        All 200 questions per skill instead of the first 20.
    controls
        Number of random directions. The effect is measured for all, the damage for the first.
    seed
        Of the first random direction.
    progress
        Show a progress bar.

    Returns
    -------
    DoseCurve
        A table and a figure.

    Raises
    ------
    BadEdit
        If the direction does not fit the model, `tokens` begin beyond what is read of a target, or an edit
        that steers is active: strengths would replace or add to its own.
    LabError
        If there is no loaded model, an argument is of another form or out of range, there are no targets, or
        a skill does not exist.
    """
    from tqdm.auto import tqdm

    from ..models.loading.loaded_model import LoadedModel
    from ..trace.interventions.apply import editing
    from ..trace.interventions.edit import Edit
    from ..trace.interventions.steering import Steering

    if not isinstance(lab, LoadedModel):
        raise no_loaded_model(lab, "gl.evals.dose_curve")
    _refuse_steered(lab)
    doses, named = _strengths(strengths), _skills(skills)
    seed = whole_number("seed", seed, minimum=0)
    controls = whole_number("controls", controls, minimum=1, maximum=999)
    steering = Steering(direction, layers=layers, tokens=tokens)
    chosen = steering.direction
    randoms = [chosen.random(seed + number) for number in range(controls)]
    if isinstance(targets, str | bytes | Mapping) or not isinstance(targets, Sequence):
        raise LabError(
            f"The targets are {short_repr(targets)}.", hint="Pass pairs of prompt and answer: [(…, …), …]."
        )
    reader = AnswerReader(lab, targets, batch_size=1)
    _check_reach(lab, steering, targets)
    count = len(doses)
    log_probs = np.zeros((1 + controls, count, len(reader)))
    reached = np.zeros(log_probs.shape, dtype=bool)
    right, asked = np.zeros((2, count), dtype=np.int64), 0
    todo = [(which, place) for place in range(count) for which in range(1 + controls)]
    for which, place in tqdm(todo, desc=f"doses of {lab.name}", disable=not progress, leave=False):
        if which and not doses[place]:  # strength 0 is the model itself
            log_probs[which, place], reached[which, place] = log_probs[0, place], reached[0, place]
            right[1, place] = right[0, place]
            continue
        one = chosen if not which else randoms[which - 1]
        with editing(lab, Edit(steer=Steering(one, doses[place], tokens=tokens))):
            scores = reader.read_intact()
            log_probs[which, place], reached[which, place] = scores.log_probs[0], scores.right[0]
            if named and which < len(right):
                asking = cast("EvaluatedModel", lab)  # a lab: a loaded model that can chat
                found = _checkup(asking, named, full=full)
                right[which, place], asked = (
                    sum(score.right for score in found.skills), sum(score.asked for score in found.skills)
                )  # fmt: skip
    return DoseCurve(
        lab.name, repr(chosen), doses, log_probs[0], reached[0], log_probs[1:], right[0], right[1], asked,
        named,
    )  # fmt: skip


def _refuse_steered(lab: LoadedModel) -> None:
    """Raise `BadEdit` if the model is steered already.

    A steering along the same direction would be replaced, and others added to, so that the direction and its
    controls would be measured on different models.
    """
    from ..trace.interventions.apply import active_edit

    active = [steering for steering in active_edit(lab.model).steer if steering.strength]
    if active:
        raise BadEdit(
            f"An edit that steers is active, {short_repr(active[0])}; a dose curve begins without steering.",
            hint="Leave its `with` block.",
        )


def _check_reach(lab: LoadedModel, steering: Steering, targets: Sequence[Any]) -> None:
    """Raise `BadEdit` unless the steering applies to a token that the score of every target depends on."""
    from ..models.fine_tuning.encoding import ExampleSet
    from ..trace.interventions.edit import Edit

    if steering.tokens is None:
        return
    encoded = ExampleSet(lab, [as_example(one) for one in targets])
    for index in range(len(encoded)):
        # nothing is predicted from the last token
        Edit(steer=steering).check_length(len(encoded.get(index).ids) - 1)


def _skills(given: Any) -> tuple[str, ...]:
    """Return the names of skills as a tuple, after checking that they exist."""
    named = (given,) if isinstance(given, str) else members("skills", given, example='skills=["names"]')
    load_questions(skills=split_skills(named)[0])
    return named


def _checkup(lab: EvaluatedModel, skills: tuple[str, ...], *, full: bool) -> Checkup:
    """Ask questions under the active steering; the check-up of the model itself is kept."""
    kept = lab.last_checkup
    try:
        return checkup(lab, skills=skills, full=full, progress=False)
    finally:
        lab.last_checkup = kept


def _strengths(values: Any) -> tuple[float, ...]:
    if isinstance(values, str | bytes) or not isinstance(values, Iterable):
        raise LabError(f"strengths is {short_repr(values)}.", hint="Pass numbers: strengths=(-2, 0, 2).")
    found = {real_number("strengths", value, minimum=-1e6, maximum=1e6) + 0.0 for value in values} | {0.0}
    if not 2 <= len(found) <= _MAX_STRENGTHS:
        raise LabError(
            f"{len(found)} strengths with 0 make no curve.", hint=f"Pass 1 to {_MAX_STRENGTHS - 1} beside 0."
        )
    return tuple(sorted(found))

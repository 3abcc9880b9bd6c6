"""An ablation test as a result: the effect of a set beside the effects of matched random sets."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ...display import Displayed
from ...errors import LabError
from ..statistics import clustered_mean_interval
from .control_sets import describe_match
from .model_state import describe_state

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ...trace.interventions.edit import Edit
    from .components import Components, Kind
    from .control_sets import Match

Array = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True)
class Measure:
    """What an ablation test measures: the loss of log-probability on which questions.

    Attributes
    ----------
    target
        The group of questions that the set is said to serve; None for all questions.
    contrast
        Whether the loss on the other questions is subtracted.
    """

    target: str | None = None
    contrast: bool = True

    def __str__(self) -> str:
        lost = "log-probability lost per answer token, nats"
        if self.target is None:
            return f"{lost}, mean over all questions"
        of = f"{lost}, mean over questions of {self.target}"
        return f"{of} minus mean over the others" if self.contrast else of

    def parts(self, groups: tuple[str, ...]) -> tuple[Array, ...]:
        """Return the questions whose loss counts and, for a contrast, those whose loss is subtracted."""
        if self.target is None:
            return (np.ones(len(groups), dtype=bool),)
        inside = np.array([one == self.target for one in groups])
        return (inside, ~inside) if self.contrast else (inside,)

    def weights(self, groups: tuple[str, ...]) -> Array:
        """Return the weight of each question in the measure, ``[questions]``."""
        weights = [part / part.sum() for part in self.parts(groups)]
        return np.asarray(weights[0] - weights[1] if len(weights) > 1 else weights[0])


@dataclass(frozen=True, eq=False)
class AblationTest(Displayed):
    """Scores of answers with all experts or heads, without a set of them, and without matched random sets.

    Attributes
    ----------
    model
        Name of the model.
    claim
        What the set is said to be, e.g. ``"busiest experts"``.
    kind
        ``"experts"`` or ``"heads"``.
    components
        Layer to the ablated experts or heads.
    groups
        What each example belongs to, ``""`` without groups.
    measure
        Which examples count, and how.
    match
        What random sets have in common with the set: ``"size"``, ``"load"`` of experts, ``"kind"`` of layer.
    seed
        Of the draws.
    intact, ablated
        Mean log-probability per token of each example's answer, nats, ``[examples]``.
    controls
        The same without each random set, ``[draws, examples]``.
    right_intact, right_ablated, right_controls
        Whether every token of the answer is the likeliest one, of the same shapes.
    share, control_shares
        Fraction of the routers' choices on these examples that falls on the set, and on each random set,
        ``[draws]``; NaN for heads.
    adapter
        Name and digest of the adapter that was active, or None.
    active_edit
        The edit that was active, for the intact answers and for all sets; None if none was.
    """

    model: str
    claim: str
    kind: Kind
    components: Components
    groups: tuple[str, ...]
    measure: Measure
    match: Match
    seed: int
    intact: Array
    ablated: Array
    controls: Array
    right_intact: Array
    right_ablated: Array
    right_controls: Array
    share: float
    control_shares: Array
    adapter: Mapping[str, str] | None = None
    active_edit: Edit | None = None

    @property
    def count(self) -> int:
        """Number of ablated experts or heads."""
        return sum(map(len, self.components.values()))

    @property
    def draws(self) -> int:
        """Number of random sets."""
        return len(self.controls)

    @property
    def null(self) -> str:
        """What the set is compared with, in words."""
        return f"{self.draws} random sets of {describe_match(self.kind, self.match)}"

    @property
    def effect(self) -> float:
        """The measure: loss of log-probability per answer token by the ablation, nats; positive is damage."""
        return float(self._weights @ (self.intact - self.ablated))

    @property
    def control_effects(self) -> Array:
        """The same for each random set, ``[draws]``."""
        return self.effects_of(self.controls)

    def effects_of(self, log_probs: Array) -> Array:
        """Return the measure for other sets.

        Parameters
        ----------
        log_probs
            Mean log-probability per token of each answer without each set, ``[sets, examples]``.
        """
        return np.asarray((self.intact - log_probs) @ self._weights)

    @property
    def excess(self) -> float:
        """`effect` minus its mean over the random sets, nats."""
        return self.effect - float(self.control_effects.mean())

    @property
    def excess_interval(self) -> tuple[float, float]:
        """95 % bootstrap interval of `excess` over questions; NaN for a group of one question.

        It says how far the mean depends on which questions were asked, and is too narrow for a handful.
        """
        each = self.controls.mean(axis=0) - self.ablated
        ends = []
        for seed, part in enumerate(self.measure.parts(self.groups)):
            low, high = clustered_mean_interval(each[part], np.arange(int(part.sum())), seed=seed)
            ends.append((float(each[part].mean()), low, high))
        if len(ends) == 1:
            return ends[0][1], ends[0][2]
        # of a difference of independent means (Zou and Donner 2008, Stat. Med. 27:1693)
        (one, low1, high1), (two, low2, high2) = ends
        below, above = np.hypot(one - low1, high2 - two), np.hypot(high1 - one, two - low2)
        return float(one - two - below), float(one - two + above)

    @property
    def standardised(self) -> float:
        """`excess` in standard deviations of the random sets' effects; ±inf or 0 if they do not differ."""
        spread = float(self.control_effects.std(ddof=1)) if self.draws > 1 else 0.0
        excess = self.excess if abs(self.excess) > 1e-9 else 0.0  # rounding
        if spread > 1e-9:
            return excess / spread
        return float(np.inf * np.sign(excess)) if excess else 0.0

    @property
    def p(self) -> float:
        """P value of the effect against the random sets, ``(1 + b) ÷ (1 + draws)``.

        b is the number of random sets that do as much damage or more.
        """
        return p_value(self.effect, self.control_effects)

    @property
    def smallest_p(self) -> float:
        """Smallest p value that the number of random sets allows."""
        return 1 / (1 + self.draws)

    @property
    def harmed(self) -> tuple[int, int]:
        """Number of counted questions that lose more than without 95 % of the random sets; and of all."""
        part = self.measure.parts(self.groups)[0]
        lost, others = (self.intact - self.ablated)[part], (self.intact - self.controls)[:, part]
        return int((lost > np.quantile(others, 0.95, axis=0) + 1e-9).sum()), int(part.sum())

    @property
    def accuracy(self) -> tuple[float, float, float]:
        """Fraction of right answers to what is tested: intact, ablated, mean of the random sets."""
        of = self.measure.parts(self.groups)[0]
        return tuple(
            float(one[..., of].mean()) for one in (self.right_intact, self.right_ablated, self.right_controls)
        )  # type: ignore[return-value]

    @property
    def conclusion(self) -> str:
        """Effect, random sets and p value, as one sentence."""
        low, high = np.quantile(self.control_effects, [0.025, 0.975])
        return (
            f"Without {self.claim} ({self.count} {self.kind}{self._state}): {self.effect:+.3f} nats, "
            f"{self.null} {low:+.3f} to {high:+.3f} (95 %), p = {self.p:.3g}."
        )

    def __repr__(self) -> str:
        intact, ablated, others = self.accuracy
        controls = self.control_effects
        return (
            f"AblationTest({self.model}{self._state}, {self.claim}: {self.count} {self.kind}; "
            f"measure: {self.measure}; null: {self.null}; {len(self.intact)} questions: {self.effect:+.3f}, "
            f"random sets {controls.mean():+.3f} ± {controls.std():.3f}, p = {self.p:.3g}; "
            f"right {intact:.0%} → {ablated:.0%}, random {others:.0%})"
        )

    def to_pandas(self) -> Any:
        """Return one row for the measure and one per group: group, examples, effect, control_low, …, p.

        Effects of groups are losses within the group.
        """
        import pandas as pd

        names = sorted(set(self.groups))
        rows = [self._row("measure", self._weights)]
        if len(names) > 1:
            rows += [self._row(name, Measure(name, contrast=False).weights(self.groups)) for name in names]
        columns = ["group", "examples", "effect", "control_low", "control_high", "p"]
        return pd.DataFrame(rows, columns=columns)

    def _row(self, label: str, weights: Array) -> tuple[Any, ...]:
        effect = float(weights @ (self.intact - self.ablated))
        controls = (self.intact - self.controls) @ weights
        low, high = np.quantile(controls, [0.025, 0.975])
        return label, int((weights != 0).sum()), effect, low, high, p_value(effect, controls)

    @property
    def _state(self) -> str:
        """Adapter and active edit in words; nothing without them."""
        state = describe_state(self.adapter, self.active_edit)
        return f" under {state}" if state else ""

    @property
    def _weights(self) -> Array:
        return self.measure.weights(self.groups)


def p_value(effect: float, controls: Array) -> float:
    """Return ``(1 + b) ÷ (1 + draws)``, b the number of random sets with the same effect or a larger one.

    Raises
    ------
    LabError
        If an effect is not finite: it is neither larger nor smaller than others.
    """
    require_finite(effect, controls)
    # equal effects count as equal in spite of rounding
    return (1 + int((controls >= effect - 1e-9).sum())) / (1 + len(controls))


def require_finite(effect: float, controls: Array) -> None:
    """Raise `LabError` unless the effects of a set and of its random sets are finite."""
    bad = int((~np.isfinite(controls)).sum())
    if bad or not np.isfinite(effect):
        raise LabError(
            f"The effect is {effect:g}, and {bad} of {len(controls)} effects of random sets are not finite, "
            "so there is no p value.",
            hint="The model gave NaN or infinite log-probabilities; look at its logits for these examples.",
        )

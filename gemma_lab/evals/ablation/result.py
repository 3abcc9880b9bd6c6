"""Ablation tests as results: the effect of a set, that of matched random sets, and what the test decides."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from ...checks import short_repr
from ...display import Displayed
from ...errors import LabError
from ..statistics import holm

if TYPE_CHECKING:
    from .answer_scores import Array, Components, Kind

Verdict = Literal["confirmed", "failed its control", "undecided"]

#: Largest p value of a single test that confirms its claim.
ALPHA = 0.01
#: Largest p value, corrected for the number of tests, that confirms a claim among several.
FAMILY_ALPHA = 0.05


@dataclass(frozen=True, eq=False)
class AblationTest(Displayed):
    """Scores of answers with all experts or heads, without a set of them, and without matched random sets.

    Attributes
    ----------
    model
        Name of the model.
    claim
        What is said of the set, e.g. ``"busiest experts"``.
    kind
        ``"experts"`` or ``"heads"``.
    components
        Layer to the ablated experts or heads.
    groups
        What each example belongs to, ``""`` without groups.
    target
        The group that the set is said to serve; None where it is said to serve all examples.
    intact, ablated
        Mean log-probability per token of each example's answer, nats, ``[examples]``.
    controls
        The same without each random set, ``[draws, examples]``.
    right_intact, right_ablated, right_controls
        Whether every token of the answer is the likeliest one, of the same shapes.
    share, control_shares
        Fraction of the routers' choices on these examples that falls on the set, and on each random set,
        ``[draws]``; NaN for heads.
    match
        What random sets have in common with the set: ``"size"``, ``"load"`` of experts, ``"kind"`` of layer.
    seed
        Of the draws.
    """

    model: str
    claim: str
    kind: Kind
    components: Components
    groups: tuple[str, ...]
    target: str | None
    intact: Array
    ablated: Array
    controls: Array
    right_intact: Array
    right_ablated: Array
    right_controls: Array
    share: float
    control_shares: Array
    match: str
    seed: int

    @property
    def count(self) -> int:
        """Number of ablated experts or heads."""
        return sum(map(len, self.components.values()))

    @property
    def draws(self) -> int:
        """Number of random sets."""
        return len(self.controls)

    @property
    def measure(self) -> str:
        """What `effect` is, in words."""
        if self.target is None:
            return "log-probability lost per answer token, nats"
        return f"log-probability lost per answer token, {self.target} minus the others, nats"

    @property
    def effect(self) -> float:
        """Loss of log-probability per answer token by the ablation, nats; positive is damage.

        The mean over all examples; with a `target`, its mean over the target's examples minus its mean over
        the others.
        """
        return float(self._weights @ (self.intact - self.ablated))

    @property
    def control_effects(self) -> Array:
        """The same for each random set, ``[draws]``."""
        return np.asarray((self.intact - self.controls) @ self._weights)

    @property
    def excess(self) -> float:
        """`effect` minus its mean over the random sets, nats."""
        return self.effect - float(self.control_effects.mean())

    @property
    def excess_interval(self) -> tuple[float, float]:
        """95 % interval of `excess` over examples: ± 1.96 standard errors; NaN for groups of one example."""
        each = self.controls.mean(axis=0) - self.ablated
        variance = 0.0
        for part in self._parts:
            variance += float(each[part].var(ddof=1)) / int(part.sum()) if part.sum() > 1 else np.nan
        half = 1.96 * float(np.sqrt(variance))
        return self.excess - half, self.excess + half

    @property
    def standardised(self) -> float:
        """`excess` in standard deviations of the random sets' effects; NaN if they do not differ."""
        spread = float(self.control_effects.std(ddof=1)) if self.draws > 1 else 0.0
        return self.excess / spread if spread > 0 else float("nan")

    @property
    def p(self) -> float:
        """P value of the effect against the random sets, ``(1 + b) ÷ (1 + draws)``.

        b is the number of random sets that do as much damage or more.
        """
        return _p(self.effect, self.control_effects)

    @property
    def smallest_p(self) -> float:
        """Smallest p value that the number of random sets allows."""
        return 1 / (1 + self.draws)

    @property
    def accuracy(self) -> tuple[float, float, float]:
        """Fraction of right answers to what is tested: intact, ablated, mean of the random sets."""
        of = self._parts[0]
        return tuple(
            float(one[..., of].mean()) for one in (self.right_intact, self.right_ablated, self.right_controls)
        )  # type: ignore[return-value]

    @property
    def accuracy_p(self) -> float:
        """The p value by right answers lost instead of log-probability, with the same weights."""
        right = self.right_intact.astype(float)
        return _p(
            float(self._weights @ (right - self.right_ablated)), (right - self.right_controls) @ self._weights
        )

    @property
    def verdict(self) -> Verdict:
        """``"confirmed"`` if p ≤ 0.01, else ``"failed its control"``.

        ``"undecided"`` if there are too few different random sets for p ≤ 0.01.
        """
        return _verdict(self.p, self.smallest_p, ALPHA)

    @property
    def conclusion(self) -> str:
        """What the test decides, as one sentence."""
        low, high = np.quantile(self.control_effects, [0.025, 0.975])
        does = f"{self.effect:+.3f} nats, random sets {low:+.3f} to {high:+.3f}, p = {self.p:.3g}"
        if self.verdict == "undecided":
            return f"Undecided: {self.draws} different random sets allow no p below {self.smallest_p:.3g}."
        if self.verdict == "confirmed":
            return (
                f"Confirmed: ablating the {self.claim} does more than ablating matched random sets ({does})."
            )
        return f"Failed its control: matched random sets do as much as the {self.claim} ({does})."

    def __repr__(self) -> str:
        intact, ablated, others = self.accuracy
        controls = self.control_effects
        of = "" if self.target is None else f" more of {self.target} than of the others"
        return (
            f"AblationTest({self.model} without {self.claim} ({self.count} {self.kind}), {len(self.intact)} "
            f"answers: {self.effect:+.3f} nats per token lost{of}, {self.draws} {self.match}-matched random "
            f"sets {controls.mean():+.3f} ± {controls.std():.3f}; right {intact:.0%} → {ablated:.0%}, random "
            f"{others:.0%}; p = {self.p:.3g}, {self.verdict})"
        )

    def to_pandas(self) -> Any:
        """Return one row for all examples and one per group: group, examples, effect, control_low, …, p.

        Effects of groups are losses within the group; the first row is the test's own measure.
        """
        import pandas as pd

        names = sorted(set(self.groups))
        rows = [self._row("all", self._weights)]
        if len(names) > 1:
            rows += [self._row(name, _mean_of(self._in(name))) for name in names]
        columns = ["group", "examples", "effect", "control_low", "control_high", "p"]
        return pd.DataFrame(rows, columns=columns)

    def _row(self, label: str, weights: Array) -> tuple[Any, ...]:
        effect = float(weights @ (self.intact - self.ablated))
        controls = (self.intact - self.controls) @ weights
        low, high = np.quantile(controls, [0.025, 0.975])
        return label, int((weights != 0).sum()), effect, low, high, _p(effect, controls)

    def _in(self, group: str) -> Array:
        return np.array([one == group for one in self.groups])

    @property
    def _parts(self) -> tuple[Array, ...]:
        """Examples that are compared, ``[examples]`` each: all, or the target's and the others."""
        if self.target is None:
            return (np.ones(len(self.intact), dtype=bool),)
        inside = self._in(self.target)
        return inside, ~inside

    @property
    def _weights(self) -> Array:
        """Weights of the examples in the measure, ``[examples]``."""
        parts = self._parts
        return _mean_of(parts[0]) - (_mean_of(parts[1]) if len(parts) > 1 else 0.0)


@dataclass(frozen=True, eq=False)
class AblationTests(Displayed):
    """Several ablation tests of one model, with p values corrected for their number.

    Parameters
    ----------
    tests
        At least one.

    Raises
    ------
    LabError
        If there are none, or they are of different models.
    """

    tests: tuple[AblationTest, ...]

    def __init__(self, tests: Sequence[AblationTest]) -> None:
        listed = tuple(tests) if isinstance(tests, Sequence) else ()
        if not listed or not all(isinstance(one, AblationTest) for one in listed):
            raise LabError(
                f"tests is {short_repr(tests)}.", hint="Pass a list of results of gl.evals.ablate_experts."
            )
        if len({one.model for one in listed}) > 1:
            raise LabError("The tests are of different models.", hint="Compare tests of one model.")
        object.__setattr__(self, "tests", listed)

    def __iter__(self) -> Iterator[AblationTest]:
        return iter(self.tests)

    def __len__(self) -> int:
        return len(self.tests)

    @property
    def p_adjusted(self) -> tuple[float, ...]:
        """P values corrected for the number of tests (Holm 1979), in their order."""
        return tuple(holm([one.p for one in self.tests]))

    @property
    def verdicts(self) -> tuple[Verdict, ...]:
        """Verdict of each test among all of them.

        ``"confirmed"`` if p ≤ 0.01 and the corrected p ≤ 0.05: then the probability that any claim is
        confirmed by chance is at most 5 %.
        """
        return tuple(
            "failed its control" if one.verdict == "confirmed" and p > FAMILY_ALPHA else one.verdict
            for one, p in zip(self.tests, self.p_adjusted, strict=True)
        )

    def to_pandas(self) -> Any:
        """Return one row per test: claim, size, examples, effect, controls, …, p, p_adjusted, verdict."""
        import pandas as pd

        rows = []
        for one, adjusted, verdict in zip(self.tests, self.p_adjusted, self.verdicts, strict=True):
            low, high = one.excess_interval
            intact, ablated, others = one.accuracy
            rows.append({
                "claim": one.claim, "size": one.count, "examples": len(one.intact), "effect": one.effect,
                "controls": float(one.control_effects.mean()), "excess": one.excess, "excess_low": low,
                "excess_high": high, "standardised": one.standardised, "accuracy_intact": intact,
                "accuracy_ablated": ablated, "accuracy_controls": others, "p": one.p, "p_adjusted": adjusted,
                "verdict": verdict,
            })  # fmt: skip
        return pd.DataFrame(rows)

    def __repr__(self) -> str:
        listed = {
            verdict: [one.claim for one, of in zip(self.tests, self.verdicts, strict=True) if of == verdict]
            for verdict in dict.fromkeys(self.verdicts)
        }
        parts = (f"{len(claims)} {verdict} ({', '.join(claims)})" for verdict, claims in listed.items())
        return f"AblationTests({self.tests[0].model}, {len(self)} claims: {'; '.join(parts)})"


def _mean_of(inside: Array) -> Array:
    mean: Array = inside / inside.sum()
    return mean


def _p(effect: float, controls: Array) -> float:
    # equal effects count as equal in spite of rounding
    return (1 + int((controls >= effect - 1e-9).sum())) / (1 + len(controls))


def _verdict(p: float, smallest: float, alpha: float) -> Verdict:
    if smallest > alpha:
        return "undecided"
    return "confirmed" if p <= alpha else "failed its control"

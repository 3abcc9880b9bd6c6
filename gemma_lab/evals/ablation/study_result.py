"""Results of ablation studies: the tests on the confirmation questions, their controls and the verdicts."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from ...display import Displayed
from ..statistics import holm
from .uniformity import uniformity_p

if TYPE_CHECKING:
    from .compare_sets import SetComparison
    from .design import StudyDesign
    from .result import AblationTest, Measure

Array = np.ndarray[Any, np.dtype[Any]]
Verdict = Literal["confirmed", "failed its control", "inconclusive"]

#: P value of uniformity below which random sets are significant too often.
_UNIFORM = 0.001


@dataclass(frozen=True)
class Finding:
    """What a study decides about one claim.

    Attributes
    ----------
    claim
        The claim.
    p, p_adjusted
        P value, and corrected for the number of claims (Holm 1979).
    verdict
        ``"confirmed"``, ``"failed its control"`` or ``"inconclusive"``.
    reason
        What decided, in words.
    """

    claim: str
    p: float
    p_adjusted: float
    verdict: Verdict
    reason: str


@dataclass(frozen=True, eq=False)
class StudyResult(Displayed):
    """Tests of the claims of an ablation study on its confirmation questions, and what they decide.

    Attributes
    ----------
    design
        What was fixed beforehand.
    claims, controls
        Test of each claim, and of the positive control of each measure, with the p values of random sets.
    """

    design: StudyDesign
    claims: tuple[SetComparison, ...]
    controls: tuple[SetComparison, ...]

    @property
    def tests(self) -> tuple[AblationTest, ...]:
        """The tests of the claims."""
        return tuple(one.test for one in self.claims)

    @property
    def positive_controls(self) -> tuple[AblationTest, ...]:
        """The tests of the positive controls, one per measure."""
        return tuple(one.test for one in self.controls)

    @property
    def negative_p(self) -> Array:
        """P values of all random sets that were tested like the claims, sorted."""
        return np.sort(np.concatenate([one.negative for one in (*self.claims, *self.controls)]))

    @property
    def uniformity(self) -> float:
        """P value of too many small values among `negative_p`; NaN without any."""
        every = (*self.claims, *self.controls)
        return uniformity_p([one.negative for one in every], [one.test.draws for one in every])

    @property
    def findings(self) -> tuple[Finding, ...]:
        """What is decided about each claim, in their order."""
        adjusted = holm([one.p for one in self.tests])
        valid = not self.uniformity < _UNIFORM
        return tuple(
            Finding(test.claim, test.p, corrected, *self._decide(test, corrected, valid))
            for test, corrected in zip(self.tests, adjusted, strict=True)
        )

    @property
    def verdicts(self) -> tuple[Verdict, ...]:
        """Verdict of each claim, in their order."""
        return tuple(one.verdict for one in self.findings)

    def detected(self, measure: Measure) -> bool:
        """Return whether the positive control of a measure was detected: the test could find something."""
        return any(one.measure == measure and self._significant(one) for one in self.positive_controls)

    def _significant(self, test: AblationTest) -> bool:
        return test.p <= self.design.alpha and test.excess >= self.design.minimum_effect

    def _decide(self, test: AblationTest, adjusted: float, valid: bool) -> tuple[Verdict, str]:
        design = self.design
        if test.smallest_p > design.alpha:
            return "inconclusive", f"only {test.draws} other sets match"
        if not valid:
            return "inconclusive", "negative control failed: random sets are significant too often"
        if self._significant(test) and adjusted <= design.family_alpha:
            return "confirmed", "more damage than random sets, also corrected for the number of claims"
        if not self.detected(test.measure):
            return "inconclusive", "positive control not detected: sets that are needed would be missed, too"
        if test.p > design.alpha:
            return "failed its control", "random sets do as much damage; the positive control does more"
        if test.excess < design.minimum_effect:
            return "failed its control", f"less than {design.minimum_effect:g} nats beyond random sets"
        return "failed its control", "not beyond random sets once corrected for the number of claims"

    def to_pandas(self) -> Any:
        """Return one row per claim and positive control: role, claim, size, measure, effect, …, verdict."""
        import pandas as pd

        findings = {id(test): one for test, one in zip(self.tests, self.findings, strict=True)}
        rows = []
        for one in (*self.tests, *self.positive_controls):
            found = findings.get(id(one))
            low, high = one.excess_interval
            intact, ablated, others = one.accuracy
            harmed, counted = one.harmed
            rows.append({
                "role": "claim" if found else "positive control", "claim": one.claim, "size": one.count,
                "measure": str(one.measure), "effect": one.effect,
                "random_sets": float(one.control_effects.mean()), "excess": one.excess, "excess_low": low,
                "excess_high": high, "standardised": one.standardised, "harmed": harmed, "questions": counted,
                "accuracy_intact": intact, "accuracy_ablated": ablated, "accuracy_random": others,
                "p": one.p, "p_adjusted": found.p_adjusted if found else np.nan,
                "verdict": found.verdict if found else self.control_verdict(one),
                "reason": found.reason if found else "",
            })  # fmt: skip
        return pd.DataFrame(rows)

    def control_verdict(self, control: AblationTest) -> str:
        """Return ``"detected"`` or ``"not detected"`` for a positive control."""
        return "detected" if self._significant(control) else "not detected"

    def __iter__(self) -> Iterator[AblationTest]:
        return iter(self.tests)

    def __len__(self) -> int:
        return len(self.claims)

    def __repr__(self) -> str:
        listed: dict[str, list[str]] = {}
        for one in self.findings:
            listed.setdefault(one.verdict, []).append(one.claim)
        parts = "; ".join(f"{len(of)} {verdict} ({', '.join(of)})" for verdict, of in listed.items())
        controls = ", ".join(self.control_verdict(one) for one in self.positive_controls)
        return (
            f"StudyResult({self.design.fingerprint}: {self.design.model}, {len(self)} claims: {parts}; "
            f"positive controls {controls}; random sets uniform with p = {self.uniformity:.2g})"
        )

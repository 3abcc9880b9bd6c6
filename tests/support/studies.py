"""Results of ablation studies whose numbers are known."""

from __future__ import annotations

import numpy as np

from gemma_lab.evals.ablation.compare_sets import PlannedTest, SetComparison
from gemma_lab.evals.ablation.design import Candidate, PlannedClaim, StudyDesign
from gemma_lab.evals.ablation.result import AblationTest, Measure
from gemma_lab.evals.ablation.study_result import StudyResult


def made_test(claim: str, effect: float, *, draws: int = 199, measure: Measure | None = None) -> AblationTest:
    """Return a test whose set loses `effect` nats on group a, and whose random sets lose −0.1 to 0.1."""
    spread = np.linspace(-0.1, 0.1, draws)[:, None] * np.ones(4)
    return AblationTest(
        model="mini", claim=claim, kind="experts", components={0: (1, 2)}, groups=("a", "a", "b", "b"),
        measure=measure or Measure(), match="load", seed=0, intact=np.zeros(4),
        ablated=np.array([-effect, -effect, 0, 0]), controls=-spread, right_intact=np.ones(4, bool),
        right_ablated=np.array([False, True, True, True]), right_controls=np.ones((draws, 4), bool),
        share=0.2, control_shares=np.full(draws, 0.2),
    )  # fmt: skip


def made_study(
    effects: dict[str, float], *, control: float = 3.0, draws: int = 199, negative: object = None
) -> StudyResult:
    """Return a result with a claim per effect, a positive control, and the p values of random sets."""
    uniform = np.linspace(0.05, 1, 20) if negative is None else np.asarray(negative, dtype=float)
    tests = [made_test(claim, effect, draws=draws) for claim, effect in effects.items()]
    strong = made_test("positive control", control, draws=draws)
    planned = [
        PlannedClaim(
            PlannedTest(one.claim, one.components, one.measure, one.match),
            (Candidate(2, 1.5), Candidate(4, 0.5)),
        )
        for one in (*tests, strong)
    ]
    design = StudyDesign(
        model="mini", kind="experts", question="Which?", development={"a": 4, "b": 4},
        screening={"a": 1, "b": 1}, confirmation={"a": 2, "b": 2}, repeated=1,
        claims=tuple(planned[:-1]), controls=(planned[-1],),
        draws=draws, development_draws=19, negatives=10, alpha=0.01, family_alpha=0.05, minimum_effect=0.01,
        seed=0, digests=(("1",), ("2",)),
    )  # fmt: skip
    claims = tuple(SetComparison(one, uniform) for one in tests)
    return StudyResult(design, claims, (SetComparison(strong, uniform),))

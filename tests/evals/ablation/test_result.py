"""What an ablation test decides, on numbers that are known."""

from __future__ import annotations

import numpy as np
import pytest

from gemma_lab.errors import LabError
from gemma_lab.evals.ablation.result import AblationTest, AblationTests


def made(effect=1.0, *, draws=199, groups=("a", "a", "b", "b"), target=None, claim="set", model="m", seed=0):
    """Return a test whose set loses `effect` nats on group a, and whose random sets lose about 0."""
    random = np.random.default_rng(seed)
    inside = np.array([one == "a" for one in groups])
    return AblationTest(
        model=model, claim=claim, kind="experts", components={0: (1, 2), 4: (3,)}, groups=tuple(groups),
        target=target, intact=np.full(len(groups), -0.1), ablated=-0.1 - effect * inside,
        controls=-0.1 + random.normal(0, 0.1, (draws, len(groups))), right_intact=np.ones(len(groups), bool),
        right_ablated=~inside, right_controls=np.ones((draws, len(groups)), bool), share=0.3,
        control_shares=np.full(draws, 0.25), match="load", seed=0,
    )  # fmt: skip


def test_an_effect_beyond_all_random_sets_is_confirmed():
    one = made()
    assert one.count == 3
    assert one.effect == pytest.approx(0.5)
    assert one.p == one.smallest_p == pytest.approx(1 / 200)
    assert one.accuracy == (1.0, 0.5, 1.0)
    assert one.accuracy_p == pytest.approx(1 / 200)
    assert one.verdict == "confirmed"
    assert one.conclusion.startswith("Confirmed")
    low, high = one.excess_interval
    assert low < one.excess < high
    assert one.standardised == pytest.approx(one.excess / one.control_effects.std(ddof=1))


def test_an_effect_that_random_sets_have_fails_its_control():
    none = made(0.0)
    assert none.p > 0.01
    assert none.verdict == "failed its control"
    assert none.conclusion.startswith("Failed its control")


def test_equal_effects_count_as_equal_in_spite_of_rounding():
    one = made(0.0, draws=120)
    object.__setattr__(one, "controls", np.tile(one.ablated + 1e-15, (120, 1)))
    assert one.p == 1.0
    assert np.isnan(one.standardised) or abs(one.excess) < 1e-9


def test_too_few_random_sets_decide_nothing():
    few = made(draws=50)
    assert few.verdict == "undecided"
    assert "50" in few.conclusion
    assert made(draws=99).verdict == "confirmed"


def test_a_target_is_its_loss_minus_that_of_the_others():
    one = made(target="a")
    assert one.effect == pytest.approx(1.0)
    assert made(target="b").effect == pytest.approx(-1.0)
    assert made(target="b").verdict == "failed its control"
    assert "a minus the others" in one.measure
    assert one.accuracy[1] == 0.0  # of the target's questions
    frame = one.to_pandas()
    assert frame["group"].tolist() == ["all", "a", "b"]
    assert frame["effect"].tolist() == pytest.approx([1.0, 1.0, 0.0])
    assert frame["p"][0] == one.p


def test_several_tests_are_corrected_for_their_number():
    tests = [made(claim=f"set {number}", seed=number) for number in range(12)]
    alone = AblationTests(tests[:2])
    assert alone.verdicts == ("confirmed", "confirmed")
    assert alone.p_adjusted == pytest.approx((0.01, 0.01))
    many = AblationTests(tests)
    assert set(many.p_adjusted) == {12 / 200}  # twelve times the smallest p value
    assert set(many.verdicts) == {"failed its control"}
    assert many.to_pandas()["p_adjusted"].tolist() == pytest.approx([0.06] * 12)
    assert len(list(many)) == len(many) == 12


def test_bad_families():
    for wrong in ([], None, [1], [made(), made(model="other")]):
        with pytest.raises(LabError):
            AblationTests(wrong)

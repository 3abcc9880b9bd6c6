"""The numbers of an ablation test, on scores that are known."""

from __future__ import annotations

import numpy as np
import pytest

from gemma_lab.errors import LabError
from gemma_lab.evals.ablation.result import AblationTest, Measure, p_value
from gemma_lab.evals.statistics import clustered_mean_interval


def made(effect=1.0, *, draws=199, groups=("a", "a", "b", "b"), measure=None, claim="set", seed=0):
    """Return a test whose set loses `effect` nats on group a, and whose random sets lose about 0."""
    random = np.random.default_rng(seed)
    inside = np.array([one == "a" for one in groups])
    return AblationTest(
        model="m", claim=claim, kind="experts", components={0: (1, 2), 4: (3,)}, groups=tuple(groups),
        measure=measure or Measure(), match="load", seed=0, intact=np.full(len(groups), -0.1),
        ablated=-0.1 - effect * inside, controls=-0.1 + random.normal(0, 0.1, (draws, len(groups))),
        right_intact=np.ones(len(groups), bool), right_ablated=~inside,
        right_controls=np.ones((draws, len(groups)), bool), share=0.3, control_shares=np.full(draws, 0.25),
    )  # fmt: skip


def test_effect_p_value_and_accuracy():
    one = made()
    assert one.count == 3
    assert one.effect == pytest.approx(0.5)
    expected = [(one.intact - row).mean() for row in one.controls]
    np.testing.assert_allclose(one.control_effects, expected)
    assert one.p == one.smallest_p == pytest.approx(1 / 200)
    half = made(0.02)
    assert half.p == (1 + sum(value >= half.effect for value in half.control_effects)) / 200
    assert one.accuracy == (1.0, 0.5, 1.0)
    assert one.harmed == (2, 4)
    assert one.standardised == pytest.approx(one.excess / one.control_effects.std(ddof=1))


def test_equal_effects_count_as_equal_in_spite_of_rounding():
    one = made(0.0, draws=120)
    object.__setattr__(one, "controls", np.tile(one.ablated + 1e-15, (120, 1)))
    assert one.p == 1.0
    assert one.standardised == 0.0
    object.__setattr__(one, "ablated", one.ablated - 1)
    assert one.standardised == np.inf


@pytest.mark.parametrize(
    ("effect", "controls"), [(np.nan, [0, 1]), (np.inf, [0, 1]), (0.5, [0, np.nan]), (0.5, [-np.inf, 0])]
)
def test_there_is_no_p_value_of_effects_that_are_not_finite(effect, controls):
    with pytest.raises(LabError, match="not finite"):
        p_value(effect, np.array(controls, dtype=float))
    assert p_value(0.5, np.array([0.0, 1.0])) == pytest.approx(2 / 3)


def test_a_target_alone_or_minus_the_others():
    contrast = made(measure=Measure("a"))
    assert contrast.effect == pytest.approx(1.0)
    assert made(measure=Measure("b")).effect == pytest.approx(-1.0)
    alone = made(measure=Measure("a", contrast=False))
    assert alone.effect == pytest.approx(1.0)
    lost = alone.intact - alone.controls
    np.testing.assert_allclose(alone.control_effects, lost[:, :2].mean(axis=1))
    np.testing.assert_allclose(contrast.control_effects, lost[:, :2].mean(axis=1) - lost[:, 2:].mean(axis=1))
    assert alone.harmed == contrast.harmed == (2, 2)
    assert "a minus mean over the others" in str(contrast.measure)
    assert contrast.accuracy[1] == 0.0  # of the target's questions
    frame = contrast.to_pandas()
    assert frame["group"].tolist() == ["measure", "a", "b"]
    assert frame["effect"].tolist() == pytest.approx([1.0, 1.0, 0.0])
    assert frame["p"][0] == contrast.p


def test_the_interval_is_the_bootstrap_over_questions():
    one = made(groups=("a", "a", "a", "b", "b", "b"))
    each = one.controls.mean(axis=0) - one.ablated
    assert one.excess_interval == clustered_mean_interval(each, np.arange(6))
    difference = made(groups=("a", "a", "a", "b", "b", "b"), measure=Measure("a"))
    low1, high1 = clustered_mean_interval(each[:3], np.arange(3), seed=0)
    low2, high2 = clustered_mean_interval(each[3:], np.arange(3), seed=1)
    one, two = each[:3].mean(), each[3:].mean()
    low, high = difference.excess_interval
    assert low == pytest.approx(one - two - ((one - low1) ** 2 + (high2 - two) ** 2) ** 0.5)
    assert high == pytest.approx(one - two + ((high1 - one) ** 2 + (two - low2) ** 2) ** 0.5)
    assert np.isnan(made(groups=("a", "b"), measure=Measure("a")).excess_interval).all()


def test_the_design_comes_first_in_its_text():
    text = repr(made(measure=Measure("a")))
    assert text.index("measure:") < text.index("null: 199 random sets") < text.index("p = ")
    assert "\n" not in text
    assert "199 random sets" in made().conclusion

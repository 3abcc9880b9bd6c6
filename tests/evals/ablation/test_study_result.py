"""The verdicts of a study: each way in which a claim is confirmed, fails or stays open."""

from __future__ import annotations

import numpy as np
import pytest
from support.studies import made_study

from gemma_lab.evals.statistics import holm


def verdict(**options):
    return made_study({"claim": 2.0} | options.pop("others", {}), **options).findings[0]


def test_an_effect_beyond_all_random_sets_is_confirmed():
    found = verdict()
    assert found.verdict == "confirmed"
    assert found.p == found.p_adjusted == pytest.approx(1 / 200)
    assert verdict(control=0.0).verdict == "confirmed"  # whether or not the positive control is


def test_an_effect_of_random_sets_fails_if_the_positive_control_is_detected():
    result = made_study({"claim": 0.0, "other": 2.0})
    assert result.verdicts == ("failed its control", "confirmed")
    assert "positive control" in result.findings[0].reason
    assert result.detected(result.tests[0].measure)


def test_nothing_is_decided_without_the_positive_control():
    result = made_study({"claim": 0.0}, control=0.0)
    assert result.verdicts == ("inconclusive",)
    assert not result.detected(result.tests[0].measure)
    assert result.to_pandas()["verdict"].tolist() == ["inconclusive", "not detected"]


def test_nothing_is_decided_if_random_sets_are_significant():
    result = made_study({"claim": 2.0}, negative=np.full(20, 0.005))
    assert result.uniformity < 0.001
    assert result.verdicts == ("inconclusive",)
    assert made_study({"claim": 2.0}, negative=[]).verdicts == (
        "confirmed",
    )  # none: nothing to hold against it


def test_nothing_is_decided_with_too_few_sets():
    result = made_study({"claim": 2.0}, draws=50)
    assert result.verdicts == ("inconclusive",)
    assert "50" in result.findings[0].reason


def test_claims_are_corrected_for_their_number():
    eleven = made_study({f"claim {number}": 2.0 for number in range(11)})
    assert {one.p_adjusted for one in eleven.findings} == {11 / 200}
    assert set(eleven.verdicts) == {"failed its control"}
    assert "corrected" in eleven.findings[0].reason
    ten = made_study({f"claim {number}": 2.0 for number in range(10)})
    assert set(ten.verdicts) == {"confirmed"}


def test_a_significant_trifle_is_not_confirmed():
    result = made_study({"claim": 2.0})
    small = result.tests[0]
    for name in ("ablated", "controls"):
        object.__setattr__(small, name, getattr(small, name) / 500)
    assert small.p == 1 / 200
    assert 0 < small.excess < 0.01
    assert result.verdicts == ("failed its control",)


def test_holm_is_that_of_its_definition():
    random = np.random.default_rng(0)
    for count in (1, 2, 7, 30):
        p = random.random(count) ** 3
        order = np.argsort(p)
        expected = np.empty(count)
        for rank, index in enumerate(order):  # max over j ≤ rank of min(1, (m - j) p_(j)), j from 0
            steps = [min(1.0, (count - j) * p[order[j]]) for j in range(rank + 1)]
            expected[index] = max(steps)
        np.testing.assert_allclose(holm(list(p)), expected)


def test_it_is_one_line_and_lists_its_tests():
    result = made_study({"claim": 2.0, "other": 0.0})
    assert "\n" not in repr(result)
    assert "1 confirmed (claim)" in repr(result)
    assert [one.claim for one in result] == ["claim", "other"]
    assert len(result) == 2
    assert len(result.negative_p) == 60
    assert (np.diff(result.negative_p) >= 0).all()

"""The negative control: too many small p values of random sets are noticed, uniform ones are not."""

from __future__ import annotations

import numpy as np
import pytest

from gemma_lab.evals.ablation.uniformity import uniformity_p


def ranks(random: np.random.Generator, tests: int, sets: int, draws: int) -> list[np.ndarray]:
    """Return p values of sets that are exchangeable with the draws of their test."""
    values = []
    for _ in range(tests):
        numbers = random.standard_normal(sets + draws)
        values.append(np.array([(1 + (numbers[sets:] >= one).sum()) / (1 + draws) for one in numbers[:sets]]))
    return values


def test_it_is_calibrated_for_sets_that_share_the_draws_of_their_test():
    random = np.random.default_rng(0)
    found = [uniformity_p(ranks(random, 4, 10, 19), [19] * 4, samples=200, seed=seed) for seed in range(300)]
    assert 0.01 <= np.mean(np.array(found) <= 0.05) <= 0.10  # 15 of 300 expected
    assert 0.4 <= np.mean(np.array(found) <= 0.5) <= 0.62


def test_small_p_values_are_noticed_and_large_ones_are_no_fault():
    small = [np.full(10, 0.005), np.linspace(0.005, 0.05, 10)]
    assert uniformity_p(small, [199, 199]) < 0.001
    assert uniformity_p([np.ones(10)], [199]) == 1.0


def test_without_sets_there_is_no_value():
    assert np.isnan(uniformity_p([np.zeros(0)], [199]))
    assert uniformity_p([np.zeros(0), np.array([0.5])], [0, 1]) > 0.1


def test_the_seed_repeats_it():
    values = [np.array([0.1, 0.4, 0.9])]
    assert uniformity_p(values, [99], seed=3) == pytest.approx(uniformity_p(values, [99], seed=3), abs=0)

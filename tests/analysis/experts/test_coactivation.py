"""Pairs of experts: exact counts, and an expectation that independence really has."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from gemma_lab.analysis.experts.coactivation import coactivation, expected_pairs


def test_counts_are_those_of_a_loop(draw):
    given = draw(tokens=60)
    counts = np.zeros((2, 32, 32), dtype=int)
    for row, token in itertools.product(range(2), range(60)):
        for a, b in itertools.product(given.ids[row, token], repeat=2):
            counts[row, a, b] += 1
    found = coactivation(given)
    np.testing.assert_array_equal(found.counts, counts)
    np.testing.assert_allclose(found.rate[0].sum(axis=1)[counts[0].sum(axis=1) > 0], 4)


def test_equal_rates_have_the_exact_expectation():
    pairs = expected_pairs(np.full(128, 8 / 128))
    off = pairs[~np.eye(128, dtype=bool)]
    np.testing.assert_allclose(off, 8 * 7 / (128 * 127))


@pytest.mark.parametrize("spread", [0.3, 1.0, 1.5])
def test_unequal_rates_have_the_expectation_of_conditional_poisson_sampling(spread):
    """Exact pair rates of the design of largest entropy, by enumeration of all sets of k."""
    odds = np.exp(np.random.default_rng(0).normal(size=12) * spread)
    sets = np.asarray(list(itertools.combinations(range(12), 4)))
    probability = odds[sets].prod(axis=1)
    probability /= probability.sum()
    exact = np.zeros((12, 12))
    for chosen, p in zip(sets, probability, strict=True):
        exact[np.ix_(chosen, chosen)] += p
    found = expected_pairs(np.diag(exact).copy())
    np.testing.assert_allclose(found.sum(axis=1), 4 * np.diag(exact), rtol=1e-6)
    assert np.abs(found - exact).max() < 0.01
    naive = np.outer(np.diag(exact), np.diag(exact))
    off = ~np.eye(12, dtype=bool)
    assert np.abs(found - exact)[off].mean() < 0.2 * np.abs(naive - exact)[off].mean()


def test_an_expert_that_every_token_chooses_goes_with_every_other_at_its_rate():
    rates = np.asarray([1.0, 0.5, 0.3, 0.2])
    np.testing.assert_allclose(expected_pairs(rates)[0, 1:], rates[1:], atol=1e-6)


def test_independent_choices_have_no_strong_pair_and_a_planted_pair_is_the_strongest(draw, routing_of):
    plain = draw(tokens=4_000, taste=0.5)
    assert coactivation(plain).top(1)[0][5] < 5.5
    ids = np.array(plain.ids)
    with_three = (ids[1] == 3).any(axis=1) & ~(ids[1] == 7).any(axis=1)
    half = np.flatnonzero(with_three)[::2]
    ids[1, half, np.argmax(ids[1, half] != 3, axis=1)] = 7
    layer, first, second, count, expected, score = coactivation(routing_of(ids, experts=32)).top(1)[0]
    assert (layer, first, second) == (1, 3, 7)
    assert count > expected
    assert score > 10


def test_pairs_as_a_table(draw):
    found = coactivation(draw(layers=(2, 7)))
    frame = found.to_pandas(5)
    assert list(frame.columns) == ["layer", "expert", "other", "count", "expected", "score"]
    assert set(frame["layer"]) <= {2, 7}
    assert "2 layers × 496 pairs of experts, 200 tokens; strongest: layer" in repr(found)


def test_chance_meetings_of_rare_experts_do_not_come_first(routing_of):
    """Experts 6 and 7 meet once in their only token; 0 and 1 go together in most of theirs."""
    together, apart = [[0, 1, 2]] * 30 + [[0, 3, 4]] * 10, [[2, 3, 4], [3, 4, 5], [2, 4, 5]] * 20
    found = coactivation(routing_of([[*together, *apart, [5, 6, 7]]], experts=8))
    assert found.top(1)[0][1:3] == (0, 1)
    assert (np.abs(np.diagonal(found.score, axis1=1, axis2=2)) < 1e-6).all()

"""ExpertLoad, imbalance and unused experts of routings whose answers are known."""

from __future__ import annotations

import numpy as np
import pytest

from gemma_lab.analysis.experts.load import entropy_bits, expert_load
from gemma_lab.errors import LabError

IDS = [[[0, 1], [0, 2], [0, 1]], [[3, 2], [1, 0], [2, 3]]]


def test_counts_shares_and_rates_sum_to_what_they_must(routing_of):
    found = expert_load(routing_of(IDS, experts=4, layers=(1, 5)))
    np.testing.assert_array_equal(found.counts, [[3, 2, 1, 0], [1, 1, 2, 2]])
    np.testing.assert_allclose(found.share.sum(axis=1), 1)
    np.testing.assert_allclose(found.rate.sum(axis=1), found.top_k)
    np.testing.assert_allclose(found.mass.sum(axis=1), found.tokens, rtol=1e-6)
    assert found.never_used.sum() == 1
    assert found.layers == (1, 5)
    np.testing.assert_allclose(found.router_entropy, 1.5)
    np.testing.assert_allclose(found.expert_output_fraction, 0.5)


def test_mass_follows_the_shares(routing_of):
    gate_weights = np.asarray([[[0.75, 0.25], [0.5, 0.5]]], dtype=np.float32)
    found = expert_load(routing_of([[[0, 1], [2, 0]]], experts=3, gate_weights=gate_weights))
    np.testing.assert_allclose(found.mass, [[1.25, 0.25, 0.5]], rtol=1e-6)


def test_even_load_is_not_imbalanced(routing_of):
    found = expert_load(routing_of([[[0, 1], [2, 3]]], experts=4))
    np.testing.assert_allclose([found.variation[0], found.gini[0], found.peak[0]], [0, 0, 1], atol=1e-12)
    np.testing.assert_allclose(found.load_entropy, 2)


def test_one_expert_for_all_is_as_imbalanced_as_can_be(routing_of):
    found = expert_load(routing_of(np.zeros((1, 5, 1), dtype=int), experts=8))
    np.testing.assert_allclose(found.gini, 7 / 8)
    np.testing.assert_allclose(found.peak, 8)
    np.testing.assert_allclose(found.variation, np.sqrt(7))
    np.testing.assert_allclose(found.load_entropy, 0, atol=1e-12)


def test_gini_is_half_the_relative_mean_difference(draw):
    found = expert_load(draw())
    x = found.counts[0].astype(float)
    by_definition = np.abs(x[:, None] - x[None, :]).mean() / (2 * x.mean())
    np.testing.assert_allclose(found.gini[0], by_definition)


def test_several_routings_count_as_one(draw):
    one, two = draw(1), draw(2)
    np.testing.assert_array_equal(
        expert_load([one, two]).counts, expert_load(one).counts + expert_load(two).counts
    )


def test_expected_unused_matches_what_even_draws_leave_unused(draw):
    unused = [
        expert_load(draw(seed, tokens=10, taste=0)).never_used.sum(axis=1).mean() for seed in range(200)
    ]
    assert np.mean(unused) == pytest.approx(expert_load(draw(tokens=10)).expected_unused, rel=0.05)


def test_entropy_of_zero_and_of_halves():
    np.testing.assert_allclose(entropy_bits(np.asarray([[1.0, 0.0], [0.5, 0.5]])), [0, 1])


def test_tables_and_repr(routing_of):
    found = expert_load(routing_of(IDS, experts=4))
    assert found.to_pandas()["count"].sum() == 12
    assert list(found.by_layer()["never_used"]) == [1, 0]
    assert repr(found) == (
        "ExpertLoad(2 layers × 4 experts, 3 tokens, top-2: busiest expert 2.0 × the mean, 1 of 8 never used)"
    )


def test_another_models_routing_is_refused(draw):
    with pytest.raises(LabError, match="another model"):
        expert_load([draw(), draw(experts=16)])
    with pytest.raises(LabError, match="No routing"):
        expert_load([])

"""Jensen–Shannon divergence of loads, against its definition and its noise floor."""

from __future__ import annotations

import numpy as np
import pytest

from gemma_lab.analysis.experts.divergence import jensen_shannon, routing_divergence
from gemma_lab.errors import LabError


def test_it_is_zero_for_the_same_and_one_bit_for_nothing_in_common():
    p, q = np.asarray([0.5, 0.5, 0, 0]), np.asarray([0, 0, 0.25, 0.75])
    assert jensen_shannon(p, p) == 0
    assert jensen_shannon(p, q) == pytest.approx(1)


def test_it_is_the_mean_divergence_from_the_middle():
    random = np.random.default_rng(0)
    p, q = random.dirichlet(np.ones(6)), random.dirichlet(np.ones(6))
    middle = (p + q) / 2
    expected = (p * np.log2(p / middle)).sum() / 2 + (q * np.log2(q / middle)).sum() / 2
    assert jensen_shannon(p, q) == pytest.approx(expected)


def test_matrices_are_symmetric_and_follow_the_labels(draw):
    found = routing_divergence({"vi": draw(1), "de": draw(2), "ar": draw(3)}, permutations=20)
    assert found.labels == ("ar", "de", "vi")
    np.testing.assert_array_equal(found.bits, found.bits.transpose(0, 2, 1))
    np.testing.assert_array_equal(np.diagonal(found.bits, axis1=1, axis2=2), 0)
    bits, limit = found.against("de")
    assert bits.shape == limit.shape == (3, 2)
    assert (bits[1] == 0).all()
    assert len(found.to_pandas()) == 2 * 3


def test_equal_routing_stays_at_the_noise_floor(draw):
    """Forty pairs of samples of one distribution: about one in twenty exceeds the 95 % limit."""
    exceeding = 0
    for seed in range(10):
        found = routing_divergence({"a": draw(2 * seed), "b": draw(2 * seed + 1)}, permutations=99, seed=seed)
        exceeding += int(found.beyond_chance[:, 0, 1].sum())
        assert found.by_chance[:, 0, 1].mean() == pytest.approx(found.bits[:, 0, 1].mean(), rel=0.6)
    assert exceeding <= 5


def test_different_routing_is_beyond_the_floor(draw, routing_of):
    shifted = routing_of((np.asarray(draw(1).ids) + 9) % 32, experts=32)
    found = routing_divergence({"a": draw(0), "b": shifted})
    assert found.beyond_chance[:, 0, 1].all()
    assert (found.bits[:, 0, 1] > 3 * found.by_chance[:, 0, 1]).all()


def test_short_samples_are_noisier_and_the_floor_says_so(draw):
    floors = [
        routing_divergence({"a": draw(1, tokens=n), "b": draw(2, tokens=n)}, permutations=40)
        .by_chance[:, 0, 1]
        .mean()
        for n in (20, 400)
    ]
    assert floors[0] > 5 * floors[1]


def test_several_prompts_a_label_are_dealt_as_wholes(draw):
    parts = {"a": [draw(1), draw(2)], "b": [draw(3), draw(4)]}
    assert routing_divergence(parts, permutations=20).unit == "group"
    assert routing_divergence({"a": draw(1), "b": draw(2)}, permutations=20).unit == "token"


def test_repr_and_refusals(draw):
    found = routing_divergence({"a": draw(1), "b": draw(2)}, permutations=20)
    assert repr(found).startswith("RoutingDivergence(2 labels × 2 layers, 400 tokens: mean 0.0")
    assert repr(found).endswith("20 permutations of tokens)")
    with pytest.raises(LabError, match="There is no label 'en'"):
        found.against("en")
    with pytest.raises(LabError, match="have the label"):
        routing_divergence({"a": draw(1)})
    with pytest.raises(LabError, match="95 % quantile"):
        routing_divergence({"a": draw(1), "b": draw(2)}, permutations=5)

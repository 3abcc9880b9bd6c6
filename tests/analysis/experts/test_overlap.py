"""RoutingOverlap of two routings, and stability under paraphrase."""

from __future__ import annotations

import numpy as np
import pytest

from gemma_lab.analysis.experts.overlap import routing_overlap, routing_stability
from gemma_lab.errors import LabError


def test_a_routing_overlaps_with_itself_entirely(draw):
    found = routing_overlap(draw(), draw())
    for measure in (found.load, found.experts, found.aligned):
        np.testing.assert_allclose(measure, 1)
    np.testing.assert_allclose(found.bits, 0, atol=1e-12)


def test_known_overlap(routing_of):
    one = routing_of([[[0, 1], [0, 1]]], experts=4)
    two = routing_of([[[0, 1], [2, 3]]], experts=4)
    found = routing_overlap(one, two)
    np.testing.assert_allclose(found.load, 0.5)
    np.testing.assert_allclose(found.experts, 0.5)
    np.testing.assert_allclose(found.aligned, 0.5)


def test_prompts_of_different_length_are_not_aligned(draw):
    found = routing_overlap(draw(tokens=10), draw(tokens=12))
    assert found.aligned is None
    assert found.to_pandas()["aligned"].isna().all()
    assert repr(found).startswith("RoutingOverlap(2 layers, 10 and 12 tokens: mean load overlap 0.")


def test_it_is_one_less_the_total_variation(draw):
    one, two = draw(1), draw(2)
    loads = [np.bincount(part.ids[0].ravel(), minlength=32) / 800 for part in (one, two)]
    np.testing.assert_allclose(routing_overlap(one, two).load[0], 1 - np.abs(loads[0] - loads[1]).sum() / 2)


def test_prompts_with_tastes_of_their_meaning_are_stable(draw, routing_of):
    meanings = [
        [routing_of((np.asarray(draw(10 * m + n).ids) + 7 * m) % 32, experts=32) for n in range(3)]
        for m in range(4)
    ]
    found = routing_stability(meanings)
    assert (found.gain > 0.05).all()
    assert found.p.max() < 0.01
    assert repr(found).startswith("RoutingStability(12 prompts of 4 meanings, 2 layers: ")


def test_prompts_without_meaning_are_not(draw):
    """Twenty surveys of noise at 10 %: more than six would happen once in 400 times."""
    found = [
        routing_stability(
            [[draw(100 * s + 10 * m + n, tokens=30) for n in range(2)] for m in range(4)], permutations=99
        )
        for s in range(20)
    ]
    assert sum(bool((survey.p <= 0.1).any()) for survey in found) <= 6


def test_too_few_prompts_are_refused(draw):
    with pytest.raises(LabError, match="at least two meanings"):
        routing_stability([[draw(1), draw(2)]])
    with pytest.raises(LabError, match="at least two prompts"):
        routing_stability([[draw(1)], [draw(2)]])

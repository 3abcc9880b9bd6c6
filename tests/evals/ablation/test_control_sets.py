"""Random sets: other experts of the same layers, near in load; other heads of the same kinds of layer."""

from __future__ import annotations

import numpy as np
import pytest

from gemma_lab.evals.ablation.control_sets import expert_sets, head_sets

LOAD = {0: np.arange(100), 3: np.arange(100)[::-1].copy()}
KINDS = {(layer, head): "global" if layer == 5 else "local" for layer in range(6) for head in range(4)}


@pytest.mark.parametrize("match", ["size", "load"])
def test_random_sets_are_other_experts_of_the_same_layers(match):
    sets = expert_sets({0: (5, 17), 3: (2,)}, LOAD, draws=60, match=match, seed=0)
    assert len({str(one) for one in sets}) == 60
    for one in sets:
        assert {layer: len(set(numbers)) for layer, numbers in one.items()} == {0: 2, 3: 1}
        assert not {17, 5} & set(one[0])
        assert 2 not in one[3]


def test_a_busy_expert_is_replaced_by_busy_ones():
    drawn = expert_sets({0: (98,)}, LOAD, draws=8, match="load", seed=0)
    assert min(one[0][0] for one in drawn) >= 90
    sizes = expert_sets({0: (98,)}, LOAD, draws=50, match="size", seed=0)
    assert min(one[0][0] for one in sizes) < 50


def test_fewer_sets_where_there_are_no_more_different_ones():
    assert len(expert_sets({0: (98,)}, LOAD, draws=500, match="load", seed=0)) == 8
    assert len(expert_sets({0: (98,)}, LOAD, draws=500, match="size", seed=0)) == 99


def test_heads_keep_their_kinds_of_layer():
    sets = head_sets([(5, 0), (3, 1), (2, 2)], KINDS, draws=100, seed=0)
    assert len({str(one) for one in sets}) == 100
    for one in sets:
        assert len(one[5]) == 1
        assert sum(map(len, one.values())) == 3
        assert 0 not in one[5]
        assert 1 not in one.get(3, ())
        assert 2 not in one.get(2, ())


def test_all_sets_where_there_are_few_and_none_where_there_are_none():
    assert head_sets([(5, 0)], KINDS, draws=10, seed=0) == [{5: (1,)}, {5: (2,)}, {5: (3,)}]
    assert head_sets([(5, head) for head in range(3)], KINDS, draws=10, seed=0) == []


def test_the_seed_repeats_the_draws():
    one, two, other = (expert_sets({0: (5,)}, LOAD, draws=20, match="size", seed=seed) for seed in (0, 0, 1))
    assert one == two != other

"""Alignment: every token of both sides once, in order, and as little called changed as there must be."""

from __future__ import annotations

import numpy as np
import pytest

from gemma_lab.analysis.alignment import AlignedPair as Pair
from gemma_lab.analysis.alignment import align, common_prefix


def test_a_replaced_token():
    assert align([1, 2, 3], [1, 9, 3]) == [
        Pair(0, 0, "same"),
        Pair(1, 1, "replaced"),
        Pair(2, 2, "same"),
    ]


def test_what_comes_after_an_insertion_is_the_same_again():
    assert align([1, 2, 3], [1, 7, 8, 2, 3]) == [
        Pair(0, 0, "same"), Pair(None, 1, "added"), Pair(None, 2, "added"), Pair(1, 3, "same"),
        Pair(2, 4, "same"),
    ]  # fmt: skip
    assert [pair.change for pair in align([1, 7, 2], [1, 2])] == ["same", "removed", "same"]


def test_unequal_runs_are_paired_from_the_left():
    assert align([1, 2, 3, 9], [1, 5, 9]) == [
        Pair(0, 0, "same"), Pair(1, 1, "replaced"), Pair(2, None, "removed"), Pair(3, 2, "same"),
    ]  # fmt: skip


@pytest.mark.parametrize("empty", [([], []), ([], [1, 2]), ([1, 2], [])])
def test_nothing_on_one_side(empty):
    assert {pair.change for pair in align(*empty)} <= {"added", "removed"}
    assert len(align(*empty)) == 2 * (empty != ([], []))


def test_every_token_occurs_once_and_in_order():
    random = np.random.default_rng(3)
    for _ in range(200):
        one, two = (random.integers(0, 4, random.integers(0, 12)).tolist() for _ in range(2))
        pairs = align(one, two)
        assert [p.first for p in pairs if p.first is not None] == list(range(len(one)))
        assert [p.second for p in pairs if p.second is not None] == list(range(len(two)))
        for pair in pairs:
            if pair.first is not None and pair.second is not None:
                assert (one[pair.first] == two[pair.second]) == (pair.change == "same")
        assert all(pair.change == "same" for pair in align(one, one))


def test_common_prefix():
    assert common_prefix([1, 2, 3], [1, 2, 4]) == 2
    assert common_prefix([1, 2], [1, 2, 4]) == 2
    assert common_prefix([], [1]) == 0

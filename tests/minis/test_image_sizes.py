"""Larger images come more often while they are read worse than those of the usual size."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from gemma_lab.minis.image_sizes import FULL_GRID, LIMITS, ImageSizes
from gemma_lab.minis.tasks import digits
from gemma_lab.models.media import SOFT_TOKEN_LIMITS


def _drawn(sizes, count=4000):
    rng = random.Random(0)
    return Counter(sizes.draw(rng) for _ in range(count))


def test_a_larger_grid_is_the_largest_square_within_its_limit():
    assert set(LIMITS.values()) == set(digits.LIMITS) <= set(SOFT_TOKEN_LIMITS)
    assert FULL_GRID**2 <= min(SOFT_TOKEN_LIMITS) < (FULL_GRID + 1) ** 2
    for grid, limit in LIMITS.items():
        assert grid**2 <= limit < (grid + 1) ** 2


@pytest.mark.parametrize("losses", [None, {8: 0.1, 11: 0.1, 16: 0.05, 23: 0.1}, {8: 2.0, 11: 2.0}])
def test_most_images_have_the_usual_size_where_larger_ones_are_read_as_well(losses):
    drawn = _drawn(ImageSizes(losses))
    assert set(drawn) == {4, 6, 8, 11, 16, 23}
    assert drawn[8] / 4000 == pytest.approx(0.80, abs=0.02)
    assert sum(drawn[grid] for grid in LIMITS) / 4000 == pytest.approx(0.06, abs=0.012)


def test_what_is_read_worse_comes_more_often_up_to_a_limit():
    drawn = _drawn(ImageSizes({8: 0.05, 11: 0.05, 16: 0.05, 23: 5.0}))
    assert sum(drawn[grid] for grid in LIMITS) / 4000 == pytest.approx(0.107, abs=0.015)
    assert drawn[23] > drawn[16] + drawn[11]
    everything = _drawn(ImageSizes({8: 0.05, 11: 9.0, 16: 9.0, 23: 9.0}))
    assert sum(everything[grid] for grid in LIMITS) / 4000 == pytest.approx(0.2, abs=0.02)


def test_losses_are_kept_by_size_and_those_of_small_images_are_not_kept():
    sizes = ImageSizes()
    sizes.saw(8, [1.0, 2.0])
    sizes.saw(8, [0.5])
    sizes.saw(16, [])
    sizes.saw(4, [3.0])
    assert sizes.losses == {8: pytest.approx(1.4)}
    assert ImageSizes(sizes.losses).losses == sizes.losses

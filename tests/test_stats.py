"""Wilson's interval."""

from __future__ import annotations

from gemma_lab.stats import interval


def test_the_interval_is_wilsons():
    low, high = interval(8, 10)
    assert (round(low, 4), round(high, 4)) == (0.4902, 0.9433)
    assert interval(0, 20)[0] == 0

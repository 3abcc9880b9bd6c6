"""The peak is that of the work alone, by the kernel's count and by looking."""

from __future__ import annotations

import time

import numpy as np
import pytest

from gemma_lab.system import measure

MB = 1_000_000


def work(megabytes: int) -> int:
    held = np.ones(megabytes * MB // 8)
    time.sleep(0.05)
    return int(held.sum())


@pytest.mark.parametrize("kernel", [True, False])
def test_it_counts_what_was_held_and_given_back(kernel: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if not kernel:
        monkeypatch.setattr(measure, "_reset", lambda: False)
    taken = measure.took(work, 200)
    assert taken.result == 200 * MB // 8
    assert 180 * MB < taken.extra < 260 * MB
    assert 0.05 < taken.seconds < 20
    assert measure.took(lambda: None).extra < 20 * MB  # an earlier peak does not count


def test_an_error_of_the_work_comes_through_and_the_watcher_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    import threading

    monkeypatch.setattr(measure, "_reset", lambda: False)
    before = threading.active_count()
    with pytest.raises(ZeroDivisionError):
        measure.took(lambda: 1 / 0)
    assert threading.active_count() == before

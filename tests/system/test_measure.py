"""The peak is that of the call alone, by the kernel's record and by sampling."""

from __future__ import annotations

import time

import numpy as np
import pytest

from gemma_lab.system import measure as module
from gemma_lab.system.measure import measure

MB = 1_000_000


def work(megabytes: int) -> int:
    held = np.ones(megabytes * MB // 8)
    time.sleep(0.05)
    return int(held.sum())


@pytest.mark.parametrize("kernel", [True, False])
def test_memory_that_was_released_is_counted(kernel: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if not kernel:
        monkeypatch.setattr(module, "_reset_high_water", lambda: False)
    taken = measure(work, 200)
    assert taken.result == 200 * MB // 8
    assert 180 * MB < taken.extra_bytes < 260 * MB
    assert taken.seconds >= 0.05
    assert measure(lambda: None).extra_bytes < 20 * MB  # an earlier peak does not count


def test_an_error_is_passed_on_and_the_sampler_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    import threading

    monkeypatch.setattr(module, "_reset_high_water", lambda: False)
    before = threading.active_count()
    with pytest.raises(ZeroDivisionError):
        measure(lambda: 1 / 0)
    assert threading.active_count() == before

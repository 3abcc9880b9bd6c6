"""Arrays that grow, in memory or in a file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from gemma_lab.trace.probes.spill import SpillBuffer


@pytest.mark.parametrize("limit", [10**9, 100, 0])
def test_what_goes_in_comes_out(limit):
    spool, parts = SpillBuffer(limit=limit), []
    for size in (3, 1, 7, 2):
        part = {
            "a": np.random.default_rng(size).random((size, 2, 3)),
            "b": np.full((size, 2), size, np.uint8),
        }
        parts.append(part)
        spool.add(part)
    assert len(spool) == 13
    for name, array in spool.result().items():
        whole = np.concatenate([part[name] for part in parts])
        assert np.array_equal(array, np.swapaxes(whole, 0, 1))
        assert isinstance(array, np.memmap) == (limit < 10**9)


def test_a_result_may_be_taken_on_the_way_and_stays_what_it_was():
    spool = SpillBuffer(limit=0)
    spool.add({"a": np.arange(6.0).reshape(3, 2)})
    early = spool.result()["a"]
    spool.add({"a": np.arange(4.0).reshape(2, 2)})
    assert early.shape == (2, 3)
    assert spool.result()["a"].shape == (2, 5)
    assert np.array_equal(spool.result()["a"][:, :3], early)


def test_the_file_is_removed_with_the_spool():
    spool = SpillBuffer(limit=0)
    spool.add({"a": np.zeros((4, 4))})
    folder = Path(spool.folder.name)
    assert folder.is_dir()
    del spool
    assert not folder.exists()

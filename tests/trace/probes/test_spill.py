"""Arrays that grow, in memory or in a file."""

from __future__ import annotations

import sys
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


@pytest.mark.parametrize("limit", [10**9, 60, 0])
def test_an_interrupted_call_has_added_all_of_its_rows_or_none(limit):
    """Interrupts at every line that `add` and what it calls run; the result is complete stretches."""

    def stretch(number):
        return {"a": np.full((2, 1), number), "b": np.full((2, 3, 2), number), "c": np.empty((2, 1, 0))}

    line, interrupted = 0, True
    while interrupted:
        line, buffer, ran = line + 1, SpillBuffer(limit=limit), 0
        buffer.add(stretch(0))

        def interrupt(frame, event, _arg, last=line):
            nonlocal ran
            if frame.f_code.co_filename.endswith("spill.py"):
                ran += event == "line"
                if ran == last:
                    raise KeyboardInterrupt
                return interrupt
            return None

        before = sys.gettrace()
        sys.settrace(interrupt)
        try:
            buffer.add(stretch(1))
            interrupted = False
        except KeyboardInterrupt:
            pass
        finally:
            sys.settrace(before)
        rows = buffer.result()
        assert {array.shape[1] for array in rows.values()} == {len(buffer)}
        assert rows["a"][0].tolist() in ([0, 0], [0, 0, 1, 1])
        buffer.add(stretch(2))
        assert buffer.result()["b"][0, :, 0].tolist() == [*rows["a"][0].tolist(), 2, 2]
    assert line > 3

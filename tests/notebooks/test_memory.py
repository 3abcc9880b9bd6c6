"""Every notebook runs within Binder's limits and a reader's patience, measured while it runs."""

from __future__ import annotations

import pytest

from gemma_lab.notebooks.checkout import checkout
from gemma_lab.notebooks.execute import execute

#: Binder kills a kernel at 2 GB, and JupyterLab takes its share: bytes, kernel and children.
PEAK = 1.5e9
#: On two cores: seconds.
LONGEST = 90


@pytest.mark.parametrize("path", checkout().notebooks, ids=lambda path: path.stem)
def test_peak_memory_and_duration(path):
    done = execute(path)
    print(f"{path.name}: peak {done.peak_bytes / 1e9:.2f} GB, {done.seconds:.0f} s")
    assert 0 < done.peak_bytes < PEAK, f"peak {done.peak_bytes / 1e9:.2f} GB"
    assert done.seconds < LONGEST, f"{done.seconds:.0f} s"

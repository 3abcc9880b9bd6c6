"""A trace, and the file it is saved in."""

from __future__ import annotations

import pytest
from support.routing_traces import picture_trace


@pytest.fixture(scope="module")
def trace():
    return picture_trace(layers=2, experts=16, top_k=3)


@pytest.fixture
def saved(trace, tmp_path):
    return trace.save(tmp_path / "a.trace", images=True)

"""The machine's line names what a number must be read with."""

from __future__ import annotations

import importlib.metadata
import re

from tools.bench.machine import cores, load, machine


def test_it_names_cores_memory_and_versions():
    line = machine()
    assert re.match(rf"{cores()} cores \(.+\), [\d.]+ GiB RAM, ", line)
    assert f"torch {importlib.metadata.version('torch')}" in line
    assert "\n" not in line


def test_load_is_a_count_of_processes():
    assert 0 <= load() < 10_000

"""Fixtures: the shipped mini, and labs of tiny checkpoints that a test may change."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import gemma_lab


@pytest.fixture(scope="session")
def moe() -> Any:
    """Return the shipped mini-moe, shared: tests unload what they attach."""
    return gemma_lab.load("mini-moe", device="cpu", progress=False)


@pytest.fixture
def own_lab(tiny_folder: Callable[[str], Path]) -> Callable[..., Any]:
    """Return a function from a size to a lab of its tiny checkpoint that no other test uses."""

    def lab(size: str, **options: Any) -> Any:
        return gemma_lab.load(tiny_folder(size), **{"device": "cpu", "dtype": "float32", **options})

    return lab

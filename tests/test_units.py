"""Numbers with units."""

from __future__ import annotations

import pytest

from gemma_lab.units import gib, parameters, tokens


@pytest.mark.parametrize(
    ("count", "shown"),
    [(25_805_933_872, "25.81 B"), (6_030_000, "6.03 M"), (412_764_420, "412.8 M"), (99_999_999, "100.0 M"),
     (1000, "1.00 k"), (999, "999"), (0, "0")],
)  # fmt: skip
def test_parameters(count: int, shown: str) -> None:
    assert parameters(count) == shown


@pytest.mark.parametrize(
    ("size", "shown"),
    [(30 * 2**20, "30.0 MiB"), (2**30, "1.00 GiB"), (62_546_173_024, "58.3 GiB"), (198 * 2**20, "0.19 GiB")],
)
def test_gib(size: int, shown: str) -> None:
    assert gib(size) == shown


@pytest.mark.parametrize(
    ("count", "shown"), [(131_072, "128K"), (1000, "1,000"), (512, "512"), (4097, "4,097")]
)
def test_tokens(count: int, shown: str) -> None:
    assert tokens(count) == shown

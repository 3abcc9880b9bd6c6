"""A mini behind a server, and the real client of OpenAI."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from support.served import serving

import gemma_lab as gl


@pytest.fixture(scope="session")
def mini() -> Any:
    return gl.load("mini-moe", device="cpu", dtype="float32")


@pytest.fixture(scope="module")
def address(mini: Any) -> Iterator[str]:
    with serving(mini) as address:
        yield address


@pytest.fixture
def client(address: str) -> Iterator[Any]:
    openai = pytest.importorskip("openai")
    with openai.OpenAI(base_url=f"{address}/v1", api_key="none", max_retries=0, timeout=120) as client:
        yield client

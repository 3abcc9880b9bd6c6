"""The tokenizer, built once."""

from __future__ import annotations

import pytest

from gemma_lab.minis.tasks import corpus
from gemma_lab.minis.tokenizer import build_tokenizer


@pytest.fixture(scope="session")
def tokenizer():
    return build_tokenizer(corpus())

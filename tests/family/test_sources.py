"""Every key that the data files use is a source, and every source is used."""

from __future__ import annotations

import json
import re

import pytest

from gemma_lab.family.sources import DATA, read_data, source

ELSEWHERE = {"config", "mini-card", "jax"}  # used by code and by prose, not by a data file


def used() -> set[str]:
    keys: set[str] = set()
    for path in DATA.glob("*.json"):
        if path.name != "sources.json":
            text = path.read_text(encoding="utf-8")
            keys |= set(re.findall(r'"(?:before_|after_)?source": "([^"]+)"', text))
            for block in re.findall(r'"sources": (\[[^\]]*\])', text):
                keys |= {item for item in json.loads(block) if isinstance(item, str)}
    return keys


def test_sources_are_used_and_known() -> None:
    assert used() | ELSEWHERE == set(read_data("sources.json"))


def test_every_source_can_be_read_somewhere() -> None:
    for key in read_data("sources.json"):
        where = source(key)
        assert where.url.startswith("https://") == (where.kind != "computed")
        assert where.label.endswith("[third-party]") == (where.kind == "third-party")


def test_an_unknown_source_is_an_error() -> None:
    with pytest.raises(KeyError):
        source("hearsay")

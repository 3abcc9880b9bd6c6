"""The manifest's schema: the same when writing and reading, and every refusal names the field."""

from __future__ import annotations

import copy
import json
import random

import msgspec
import pytest
from support.forged import members, zipped

from gemma_lab.errors import BadTrace
from gemma_lab.trace.storage.schema import WrongVersion, read_manifest, write_manifest
from gemma_lab.trace.trace import open_trace

VALUES = [None, True, 0, -1, 1, 2, 215, 2**31, 10**30, 1.5, "", "x", "\ud800", [], {}, [1], {"a": 1}]


@pytest.fixture
def manifest(saved):
    return read_manifest(members(saved)["manifest.json"])


def test_what_is_written_reads_the_same(manifest):
    assert read_manifest(write_manifest(manifest)) == manifest


@pytest.mark.parametrize("version", [0, 1, 2, 4, 99, "3", True, None, 3.5])
def test_another_version_is_named(manifest, version):
    values = msgspec.to_builtins(manifest) | {"version": version}
    with pytest.raises(WrongVersion, match="version") as caught:
        read_manifest(json.dumps(values).encode())
    assert caught.value.newer == (version in (4, 99))


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"tokens": 1 << 23}, "tokens"),
        ({"images": 10_001}, "images"),
        ({"timings": {"total_s": float("inf")}}, "timings.total_s"),
        ({"meta": {"a": {"b": ["\udc00"]}}}, r"meta\.a\.b\[0\]"),
        ({"meta": {"a": {1: 2}}}, r"meta\.a has the key 1"),
        ({"meta": {"a": object()}}, r"meta\.a is of type object"),
    ],
)
def test_what_could_not_be_read_is_not_written(manifest, change, named):
    with pytest.raises(ValueError, match=named):
        write_manifest(msgspec.structs.replace(manifest, **change))


def _places(value, found, parent=None, key=None):
    """Collect every place of a JSON value, as its parent and the key in it."""
    if parent is not None:
        found.append((parent, key))
    if isinstance(value, dict | list):
        for name in list(value) if isinstance(value, dict) else range(len(value)):
            _places(value[name], found, value, name)
    return found


@pytest.mark.parametrize("seed", range(3))
def test_whatever_opens_can_be_saved_and_opened_again(seed, saved, tmp_path):
    contents, choose = members(saved), random.Random(seed)
    for _ in range(60):
        values = json.loads(contents["manifest.json"])
        for _ in range(choose.choice((1, 1, 3))):
            parent, key = choose.choice(_places(values, []))
            action = choose.random()
            if action < 0.6:
                parent[key] = choose.choice(VALUES)
            elif action < 0.8:
                del parent[key]
            elif isinstance(parent, list):
                parent.append(copy.deepcopy(parent[key]))
            else:
                parent[f"{key}2"] = copy.deepcopy(parent[key])
        saved.write_bytes(zipped(contents | {"manifest.json": json.dumps(values).encode()}))
        try:
            opened = open_trace(saved)
        except BadTrace:
            continue
        assert opened.equal(opened)
        assert open_trace(opened.save(tmp_path / "again.trace", images=True)).equal(opened)

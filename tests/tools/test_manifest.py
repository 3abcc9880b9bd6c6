"""data/manifest.json says of every shipped file what it is, by checksum, licence and source."""

from __future__ import annotations

import hashlib
import json

import pytest

from gemma_lab.assets import data_root
from gemma_lab.errors import LabError
from tools.manifest import MANIFEST, dumps, manifest, write_manifest


def test_the_committed_manifest_is_in_step():
    root = data_root()
    assert dumps(manifest(root)) == (root / MANIFEST).read_text(encoding="utf-8"), (
        "run `python -m tools.manifest`"
    )


def test_first_matching_entry_gives_licence_and_source(tmp_path):
    (tmp_path / "sources.toml").write_text(
        '[[files]]\nmatch = "a/one.*"\nlicence = "CC0-1.0"\nsource = "one"\n'
        '[[files]]\nmatch = "a/*"\nlicence = "MIT"\nsource = "all"\n'
    )
    for name in ("one.txt", "deep/two.txt", ".hidden"):
        path = tmp_path / "a" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    files = json.loads(write_manifest(tmp_path).read_text())["files"]
    assert [(f["path"], f["licence"], f["source"]) for f in files] == [
        ("a/deep/two.txt", "MIT", "all"),
        ("a/one.txt", "CC0-1.0", "one"),
    ]
    assert files[1]["sha256"] == hashlib.sha256(b"one.txt").hexdigest()


def test_a_file_without_licence_is_refused(tmp_path):
    (tmp_path / "sources.toml").write_text("files = []\n")
    (tmp_path / "found.bin").write_bytes(b"?")
    with pytest.raises(LabError, match=r"data/found\.bin has no licence"):
        manifest(tmp_path)

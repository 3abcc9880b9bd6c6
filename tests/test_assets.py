from __future__ import annotations

import pytest

from gemma_lab import assets
from gemma_lab.errors import LabError


def test_the_checkout_has_data():
    assert (assets.data_root() / "manifest.json").is_file()


def test_the_wheels_copy_comes_first(tmp_path, monkeypatch):
    package = tmp_path / "gemma_lab"
    for folder in (package / "_data", tmp_path / "data"):
        folder.mkdir(parents=True)
        (folder / "manifest.json").write_text("{}")
    monkeypatch.setattr(assets, "_PACKAGE", package)
    assert assets.data_root() == package / "_data"
    (package / "_data" / "manifest.json").unlink()
    assert assets.data_root() == tmp_path / "data"


def test_no_data_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setattr(assets, "_PACKAGE", tmp_path / "gemma_lab")
    with pytest.raises(LabError, match="Reinstall"):
        assets.data_root()


def test_a_missing_file_names_the_manifest():
    with pytest.raises(LabError, match=r"minis/none.*\n→ .*manifest\.json"):
        assets.data_path("minis/none")

from __future__ import annotations

from pathlib import Path

import pytest

from gemma_lab.errors import BadCheckpoint, UnknownModel
from gemma_lab.models.loading.resolve import DEFAULT_MODEL, download, locate


@pytest.mark.parametrize(
    "name", ["26b-a4b-it", "26B-A4B-IT", "google/gemma-4-26B-A4B-it", "google/gemma-4-26b-a4b-it"]
)
def test_an_alias_and_a_hub_id_of_the_catalog(name):
    found = locate(name)
    assert (found.name, found.hub_id, found.folder) == ("26b-a4b-it", "google/gemma-4-26B-A4B-it", None)
    assert found.checkpoint.size == "26B-A4B"


def test_another_hub_id():
    found = locate("somebody/gemma-4-tuned")
    assert (found.hub_id, found.checkpoint) == ("somebody/gemma-4-tuned", None)


@pytest.mark.parametrize("kind", [str, Path])
def test_a_folder(tmp_path, kind):
    (tmp_path / "mine").mkdir()
    found = locate(kind(tmp_path / "mine"))
    assert (found.name, found.folder) == ("mine", tmp_path / "mine")
    assert download(found, offline=True) == tmp_path / "mine"


def test_a_relative_folder(tmp_path, monkeypatch):
    (tmp_path / "owner" / "model").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    assert locate("owner/model").folder == Path("owner/model")
    assert locate(".").name == tmp_path.name


@pytest.mark.parametrize("variable", [None, "somebody/other"])
def test_without_a_name(monkeypatch, variable):
    from gemma_lab.models.loading import resolve

    monkeypatch.setattr(resolve, "DEFAULT_MODEL", "e2b-it")
    if variable:
        monkeypatch.setenv("GEMMA_LAB_MODEL", variable)
    assert locate(None).hub_id == (variable or "google/gemma-4-E2B-it")
    assert DEFAULT_MODEL == "mini-moe"


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("26b-a4b-itt", "Did you mean 26b-a4b-it"),
        ("", "No model is called ''"),
        ("zzzzzz", r"gl\.catalog\(\)"),
        ("./nowhere", "There is no folder nowhere"),
        ("/nowhere/at/all", "There is no folder"),
        ("a/b/c", "No model is called"),
        ("../../etc", "There is no folder|config"),
        ("owner/../x", "No model is called"),
        ("owner/name?x=1", "No model is called"),
        ("<b>x</b>", "No model is called"),
        (5, "not by an int"),
    ],
)
def test_names_that_mean_nothing(tmp_path, monkeypatch, name, says):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UnknownModel, match=says):
        locate(name)


@pytest.mark.parametrize("name", ["gemma-4-E2B-it-Q4_K_M.gguf", "models/E2B.GGUF"])
def test_gguf_files_are_named_as_such(name):
    with pytest.raises(BadCheckpoint, match="GGUF"):
        locate(name)


def test_a_file_is_not_a_folder(tmp_path):
    (tmp_path / "model.safetensors").write_bytes(b"")
    with pytest.raises(UnknownModel, match="Give the folder it is in"):
        locate(tmp_path / "model.safetensors")

"""Files of SAEs: a round trip, the hub up to the download, and files that are refused."""

from __future__ import annotations

import json

import huggingface_hub
import numpy as np
import pytest
import torch
from support.saes import parts, topk, write

import gemma_lab as gl
from gemma_lab.errors import BadCheckpoint, LabError, NotAvailable, UnknownModel

CONFIG = {"architecture": "standard", "metadata": {"hook_name": "layers.2", "sae_lens_version": "6.0.0"}}


def test_a_saved_one_opens_as_it_was(tmp_path):
    sae = topk(8, 3, base_digest={"norms": "ab", "matrices": "cd"}, training={"steps": 5}, trained_on="m")
    again = gl.load_sae(sae.save(tmp_path / "sae"))
    rows = torch.randn(7, 8)
    assert torch.equal(again.encode(rows), sae.encode(rows))
    assert (again.layer, again.k, again.base_digest, dict(again.training)) == (
        3, 4, {"norms": "ab", "matrices": "cd"}, {"steps": 5},
    )  # fmt: skip
    assert again.trained_on == "m"
    config = json.loads((tmp_path / "sae" / "cfg.json").read_text())
    assert config["architecture"] == "topk"
    assert config["rescale_acts_by_decoder_norm"] is False
    assert "\n" not in repr(again)
    assert "8" in again._repr_html_()


@pytest.mark.parametrize("folder", ["", " ", None, 5])
def test_what_names_no_folder_is_not_written_to(folder):
    with pytest.raises(LabError, match="not a path"):
        topk(8, 1).save(folder)
    with pytest.raises(LabError, match="name of an SAE"):
        topk(8, 1, name=5)


def test_a_pickle_is_never_opened(tmp_path):
    class Bomb:
        def __reduce__(self):
            return (open, (str(tmp_path / "ran"), "w"))

    folder = tmp_path / "sae"
    folder.mkdir()
    torch.save({"W_enc": Bomb()}, folder / "sae_weights.pt")
    (folder / "cfg.json").write_text("{}")
    for source in (folder, folder / "sae_weights.pt"):
        with pytest.raises(BadCheckpoint, match="pickle") as error:
            gl.load_sae(source)
        assert "safetensors" in error.value.hint
    assert not (tmp_path / "ran").exists()


def test_broken_files_are_named(tmp_path):
    folder = write(tmp_path / "sae", CONFIG, parts(), "sae_weights.safetensors")
    file = folder / "sae_weights.safetensors"
    whole = file.read_bytes()
    file.write_bytes(whole[:-40])
    with pytest.raises(BadCheckpoint, match="truncated"):
        gl.load_sae(folder)
    file.write_bytes(b"version https://git-lfs.github.com/spec/v1\nsize 5\n")
    with pytest.raises(BadCheckpoint, match="LFS"):
        gl.load_sae(folder)
    file.write_bytes(whole)
    for text in ("[1]", "{", "null"):
        (folder / "cfg.json").write_text(text)
        with pytest.raises(BadCheckpoint, match="cfg"):
            gl.load_sae(folder)
    (folder / "cfg.json").unlink()
    with pytest.raises(BadCheckpoint, match="cfg"):
        gl.load_sae(folder)


def test_a_folder_of_several_lists_them(tmp_path):
    for layer in (3, 17):
        write(tmp_path / f"layers.{layer}", CONFIG, parts(), "sae_weights.safetensors")
    with pytest.raises(NotAvailable) as error:
        gl.load_sae(tmp_path)
    assert "layers.17" in error.value.hint
    assert gl.load_sae(tmp_path, subfolder="layers.17").layer == 2
    for bad in ("../x", "/etc", "a*", ""):
        with pytest.raises(LabError, match="subfolder"):
            gl.load_sae(tmp_path, subfolder=bad)
    with pytest.raises(NotAvailable, match=r"layers\.5"):
        gl.load_sae(tmp_path, subfolder="layers.5")


@pytest.mark.parametrize("source", [None, 3, "", "nothing-here", "/no/such/folder", "a\0b", ["x"]])
def test_what_names_no_sae(source):
    with pytest.raises(LabError):
        gl.load_sae(source)


def test_the_hub_is_asked_for_one_folder_and_safe_files_only(tmp_path, monkeypatch):
    write(tmp_path / "e2b" / "layer-17", CONFIG, parts(), "sae_weights.safetensors")
    asked = []

    def snapshot(name, **options):
        asked.append((name, options))
        return str(tmp_path)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot)
    sae = gl.load_sae("owner/saes/e2b/layer-17", offline=False)
    (name, options), *_ = asked
    assert name == "owner/saes"
    assert not options["local_files_only"]
    assert options["allow_patterns"] == [
        "e2b/layer-17/*.safetensors",
        "e2b/layer-17/cfg.json",
        "e2b/layer-17/config.json",
    ]
    np.testing.assert_array_equal(sae.encoder.numpy(), parts()["W_enc"].numpy())
    with pytest.raises(UnknownModel, match="layer-9"):
        gl.load_sae("owner/saes", subfolder="e2b/layer-9", offline=False)


def test_a_repository_of_several_is_listed_before_anything_is_downloaded(monkeypatch):
    files = ["a/layers.3/sae.safetensors", "a/layers.4/sae.safetensors", "README.md"]
    monkeypatch.setattr(huggingface_hub, "list_repo_files", lambda name: files)
    with pytest.raises(UnknownModel) as error:
        gl.load_sae("owner/saes", offline=False)
    assert "a/layers.3" in error.value.hint
    monkeypatch.setattr(huggingface_hub, "list_repo_files", lambda name: ["sae_weights.pt", "cfg.json"])
    with pytest.raises(BadCheckpoint, match="pickle"):
        gl.load_sae("owner/saes", offline=False)


def test_offline_says_so():
    with pytest.raises(NotAvailable, match="offline"):
        gl.load_sae("owner/saes/layer-3", offline=True)


def test_another_device_is_refused_where_there_is_none(tmp_path):
    folder = topk(8, 0).save(tmp_path / "sae")
    with pytest.raises(LabError, match="device"):
        gl.load_sae(folder, device="no-such-device")

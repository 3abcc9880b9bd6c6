"""Drafters are found, checked and loaded; those of other models are refused with the numbers."""

from __future__ import annotations

import json
import shutil

import pytest
import torch
from support.drafters import tiny_drafter
from support.shapes import tiny_checkpoint, tiny_tokenizer

import gemma_lab as gl
from gemma_lab.errors import BadCheckpoint, BadDrafter, DoesNotFit, LabError, NotAvailable, UnknownModel
from gemma_lab.models.drafting import load as loading


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return tiny_checkpoint("26B-A4B", tmp_path_factory.mktemp("base") / "moe")


@pytest.fixture
def saved(base, tmp_path):
    """Return a function that saves a drafter of a tiny checkpoint, changed as a test wants."""

    def save(change=lambda config: None, *, of=base, name="own"):
        lab = gl.load(of, device="cpu", dtype="float32")
        model = tiny_drafter(lab.model)
        folder = tmp_path / name
        model.save_pretrained(folder)
        config = json.loads((folder / "config.json").read_text())
        change(config)
        (folder / "config.json").write_text(json.dumps(config))
        return folder

    return save


def load(base, drafter, **options):
    return gl.load(base, device="cpu", dtype="float32", drafter=drafter, **options)


def test_a_folder_is_loaded_beside_its_model(base, saved):
    lab = load(base, saved())
    assert lab.drafter.name == "own"
    assert lab.drafter.model.dtype == torch.float32
    plain = gl.load(base, device="cpu", dtype="float32").chat("a b", temperature=0, max_new_tokens=12)
    drafted = lab.chat("a b", temperature=0, max_new_tokens=12)
    assert [each.id for each in drafted.tokens] == [each.id for each in plain.tokens]
    assert drafted.acceptance.drafter == "own"


def test_the_drafter_takes_the_dtype_of_its_model(base, saved):
    lab = gl.load(base, device="cpu", dtype="bfloat16", drafter=saved())
    assert lab.drafter.model.dtype == torch.bfloat16
    lab.chat("a b", temperature=0, max_new_tokens=6)


def test_auto_finds_a_folder_beside_the_model(base, saved):
    with pytest.raises(NotAvailable, match="moe"):
        load(base, "auto")
    beside = shutil.copytree(saved(), base.parent / "moe-assistant")
    try:
        assert load(base, "auto").drafter.name == "moe-assistant"
    finally:
        shutil.rmtree(beside)


def test_auto_says_which_model_has_none():
    with pytest.raises(NotAvailable, match="mini-edge"):
        gl.load("mini-edge", drafter="auto")


def test_the_shipped_drafter_is_that_of_the_shipped_mini():
    lab = gl.load("mini-moe", drafter="auto")
    assert lab.drafter.name == "mini-moe-assistant"
    assert gl.load("mini-moe", drafter="mini-moe-assistant").drafter.parameters == lab.drafter.parameters
    row = next(iter(gl.catalog(variant="assistant", size="mini-moe")))
    assert row.parameters == lab.drafter.parameters
    assert not row.standalone
    assert (gl.data_path(row.path) / "model.safetensors").stat().st_size < 5e6


def test_an_assistant_of_the_catalog_is_known_before_anything_is_downloaded(monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    found = loading._own_drafter("26b-a4b-it")
    assert found.hub_id == "google/gemma-4-26B-A4B-it-assistant"
    with pytest.raises(NotAvailable):
        loading.find_drafter("auto", "26b-a4b-it", offline=True)


def test_a_drafter_of_another_vocabulary_is_refused(base, saved):
    def widen(config):
        config["text_config"]["vocab_size"] = 600

    folder = saved(widen)
    model_class = type(tiny_drafter(gl.load(base, device="cpu").model))
    model_class(model_class.config_class.from_pretrained(folder)).save_pretrained(folder)
    with pytest.raises(BadDrafter, match=r"600.*512"):
        load(base, folder)


def test_a_drafter_of_another_shape_is_refused(base, saved, tmp_path):
    other = tiny_checkpoint("E2B", tmp_path / "edge")
    with pytest.raises(BadDrafter, match="key-value heads"):
        load(base, saved(of=other))


def test_a_drafter_for_other_widths_is_refused(base, saved):
    folder = saved()
    config = json.loads((folder / "config.json").read_text()) | {"backbone_hidden_size": 96}
    (folder / "config.json").write_text(json.dumps(config))
    model_class = type(tiny_drafter(gl.load(base, device="cpu").model))
    model_class(model_class.config_class.from_pretrained(folder)).save_pretrained(folder)
    with pytest.raises(BadDrafter, match=r"96.*64"):
        load(base, folder)


def test_a_drafter_with_other_token_ids_is_refused(base, saved):
    folder = saved()
    tiny_tokenizer().save_pretrained(folder)
    assert load(base, folder).drafter is not None
    content = json.loads((folder / "tokenizer.json").read_text())
    vocabulary = content["model"]["vocab"]
    vocabulary["a"], vocabulary["b"] = vocabulary["b"], vocabulary["a"]
    (folder / "tokenizer.json").write_text(json.dumps(content))
    with pytest.raises(BadDrafter, match="2 of"):
        load(base, folder)


def test_missing_and_cut_files_are_refused(base, saved):
    folder = saved()
    weights = folder / "model.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[:-100])
    with pytest.raises(BadCheckpoint, match="truncated"):
        load(base, folder)
    weights.unlink()
    with pytest.raises(BadCheckpoint, match="weights"):
        load(base, folder)
    (folder / "config.json").unlink()
    with pytest.raises(BadCheckpoint, match=r"config\.json"):
        load(base, folder)


def test_a_model_is_no_drafter(base):
    with pytest.raises(BadDrafter, match="gemma4"):
        load(base, base)


@pytest.mark.parametrize("drafter", [True, 4, object(), ["own"]])
def test_what_names_no_drafter_is_refused(base, drafter):
    with pytest.raises(LabError, match="drafter"):
        load(base, drafter)


def test_an_unknown_name_is_refused(base):
    with pytest.raises(UnknownModel, match="mini-moe-assistent"):
        load(base, "mini-moe-assistent")


def test_too_little_memory_is_refused_before_it_is_loaded(base, saved, monkeypatch):
    folder = saved()
    lab = gl.load(base, device="cpu", dtype="float32")
    found = loading.find_drafter(folder, base)
    monkeypatch.setattr(loading.hardware, "devices", tuple)
    monkeypatch.setattr(loading, "free_ram", lambda: 1000)
    with pytest.raises(DoesNotFit, match="own"):
        loading.load_drafter(found, lab)

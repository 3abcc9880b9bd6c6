"""Loading by hub id: from a cache laid out as the hub's library does, and what is said when it is away."""

from __future__ import annotations

import shutil
from pathlib import Path
from types import SimpleNamespace

import huggingface_hub
import huggingface_hub.errors
import pytest
from huggingface_hub import constants

import gemma_lab as gl
from gemma_lab.errors import BadCheckpoint, DoesNotFit, NotAvailable, NotGemma4, UnknownModel
from gemma_lab.models.loading.resolve import PATTERNS

_COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """An empty hub cache, and a hub that cannot be asked quickly."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path / "hub"


def _put(cache: Path, hub_id: str, source: Path) -> Path:
    """Lay a checkpoint out as downloads do: blobs, and a snapshot of links to them."""
    home = cache / f"models--{hub_id.replace('/', '--')}"
    snapshot = home / "snapshots" / _COMMIT
    snapshot.mkdir(parents=True)
    (home / "blobs").mkdir()
    (home / "refs").mkdir()
    (home / "refs" / "main").write_text(_COMMIT)
    for number, file in enumerate(sorted(source.iterdir())):
        blob = home / "blobs" / f"{number:064x}"
        shutil.copy(file, blob)
        (snapshot / file.name).symlink_to(Path("../../blobs") / blob.name)
    return snapshot


@pytest.mark.parametrize("how", ["argument", "GEMMA_LAB_OFFLINE", "HF_HUB_OFFLINE", None])
def test_a_cached_model_loads_without_the_hub(cache, tiny_folder, monkeypatch, how):
    _put(cache, "somebody/tiny", tiny_folder("12B"))
    if how and how != "argument":
        monkeypatch.setenv(how, "1")
    lab = gl.load("somebody/tiny", offline=True if how == "argument" else None)
    assert lab.name == "somebody/tiny"
    assert "audio" in lab.modalities


def test_a_cached_model_of_the_catalog_has_its_row(cache, tiny_folder):
    _put(cache, "google/gemma-4-E2B-it", tiny_folder("E2B"))
    lab = gl.load("e2b-it", offline=True)
    assert (lab.name, lab.checkpoint.size) == ("e2b-it", "E2B")


def test_offline_and_not_cached(cache):
    with pytest.raises(NotAvailable, match=r"google/gemma-4-E2B-it is not in the cache .*offline"):
        gl.load("e2b-it", offline=True)


def test_offline_and_cached_in_part(cache, tiny_folder):
    (_put(cache, "somebody/tiny", tiny_folder("31B")) / "model.safetensors").unlink()
    with pytest.raises(BadCheckpoint, match="no weights"):
        gl.load("somebody/tiny", offline=True)


class _Hub:
    """A hub that holds one checkpoint and remembers what was asked of it."""

    def __init__(self, monkeypatch, source, *, parameters=1_000_000):
        self.source, self.asked = source, []
        monkeypatch.setattr(huggingface_hub, "hf_hub_download", self.file)
        monkeypatch.setattr(huggingface_hub, "snapshot_download", self.snapshot)
        self.count = {"BF16": parameters}
        monkeypatch.setattr(huggingface_hub, "get_safetensors_metadata", self.metadata)

    def file(self, hub_id, name, *, local_files_only=False):
        assert not local_files_only
        self.asked.append(name)
        return str(self.source / name)

    def metadata(self, hub_id):
        self.asked.append("sizes")
        return SimpleNamespace(parameter_count=self.count)

    def snapshot(self, hub_id, *, local_files_only, **wanted):
        if local_files_only:
            raise huggingface_hub.errors.LocalEntryNotFoundError("not cached")
        self.asked.append("everything")
        self.wanted = wanted
        return str(self.source)


def test_a_download_asks_for_safe_files_only(cache, tiny_folder, monkeypatch):
    hub = _Hub(monkeypatch, tiny_folder("31B"))
    assert gl.load("somebody/tiny").name == "somebody/tiny"
    assert hub.asked == ["config.json", "sizes", "everything"]
    assert hub.wanted == {"allow_patterns": list(PATTERNS), "ignore_patterns": ["*/*"]}
    assert set(PATTERNS) == {"*.safetensors", "*.json", "*.jinja", "tokenizer.model"}


def test_another_architecture_costs_one_small_file(cache, tmp_path, monkeypatch):
    (tmp_path / "config.json").write_text('{"model_type": "llama"}')
    hub = _Hub(monkeypatch, tmp_path)
    with pytest.raises(NotGemma4):
        gl.load("somebody/llama")
    assert hub.asked == ["config.json"]


def test_too_large_is_said_before_the_download(cache, tiny_folder, monkeypatch):
    hub = _Hub(monkeypatch, tiny_folder("31B"), parameters=10**13)
    with pytest.raises(DoesNotFit, match="does not fit on cpu"):
        gl.load("somebody/huge")
    assert "everything" not in hub.asked


def test_a_full_disk_is_said_before_the_download(cache, tiny_folder, monkeypatch):
    hub = _Hub(monkeypatch, tiny_folder("31B"))
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=1000))
    with pytest.raises(DoesNotFit, match=r"download of 1\.9 MiB; 0\.0 MiB of disk are free"):
        gl.load("somebody/tiny")
    assert "everything" not in hub.asked


@pytest.mark.parametrize("name", ["e2b-it-assistant", "google/gemma-4-26B-A4B-it-assistant"])
def test_a_drafter_is_refused_without_asking_the_hub(cache, tiny_folder, monkeypatch, name):
    hub = _Hub(monkeypatch, tiny_folder("31B"))
    with pytest.raises(NotGemma4, match="drafter"):
        gl.load(name)
    assert hub.asked == []


def _fails(error):
    def fail(*_, **__):
        raise error

    return fail


def _answer(kind, status):
    import httpx

    response = httpx.Response(status, request=httpx.Request("GET", "https://huggingface.co/x"))
    return kind("The hub's own words\nand more", response=response)


@pytest.mark.parametrize(
    ("kind", "status", "raised", "says"),
    [
        (huggingface_hub.errors.RepositoryNotFoundError, 404, UnknownModel, "no model 'somebody/tiny'"),
        (huggingface_hub.errors.GatedRepoError, 403, NotAvailable, "accept its terms"),
        (
            huggingface_hub.errors.HfHubHTTPError,
            503,
            NotAvailable,
            "could not be downloaded: The hub's own words",
        ),
    ],
)
def test_what_the_hub_answers(cache, monkeypatch, kind, status, raised, says):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", _fails(_answer(kind, status)))
    with pytest.raises(raised, match=says):
        gl.load("somebody/tiny")


def test_no_connection(cache, monkeypatch):
    import httpx

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(
        huggingface_hub, "hf_hub_download", _fails(httpx.ConnectError("Name or service not known"))
    )
    with pytest.raises(NotAvailable, match=r"Name or service not known\n→ Check the connection"):
        gl.load("somebody/tiny")

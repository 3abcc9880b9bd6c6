from __future__ import annotations

import json
import shutil
import struct

import pytest

from gemma_lab.errors import BadCheckpoint
from gemma_lab.models.loading.checkpoint_files import read_checkpoint


@pytest.fixture
def folder(tiny_folder, tmp_path):
    """A copy of a good checkpoint, to be spoilt."""
    return shutil.copytree(tiny_folder("31B"), tmp_path / "copy")


@pytest.fixture
def sharded(tmp_path):
    from support import shapes

    return shapes.tiny_checkpoint("31B", tmp_path / "sharded", max_shard_size="300KB")


def _write(file, entries, *, data=b"", length=None):
    header = entries if isinstance(entries, bytes) else json.dumps(entries).encode()
    file.write_bytes(struct.pack("<Q", len(header) if length is None else length) + header + data)


def test_a_good_one_is_read(folder):
    files = read_checkpoint(folder)
    assert files.model_type == "gemma4"
    embedding = files.tensors["model.language_model.embed_tokens.weight"]
    assert (embedding.shape, embedding.dtype) == ((512, 64), "F32")
    assert files.weight_bytes(4) == 2 * files.weight_bytes(2)
    size = (folder / "model.safetensors").stat().st_size
    assert 0 < size - files.weight_bytes(4) < 60_000  # the rest is the header


def test_shards_are_joined(sharded):
    assert len(list(sharded.glob("*.safetensors"))) > 2
    assert "model.language_model.embed_tokens.weight" in read_checkpoint(sharded).tensors


def test_links_are_fine(folder, tmp_path):
    blob = tmp_path / "blob"
    (folder / "model.safetensors").rename(blob)
    (folder / "model.safetensors").symlink_to(blob)
    assert read_checkpoint(folder).tensors
    blob.unlink()
    with pytest.raises(BadCheckpoint, match="broken link"):
        read_checkpoint(folder)


@pytest.mark.parametrize("keep", [0, 5, 8, 100, 20_000, -1])
def test_truncated(folder, keep):
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:keep])
    with pytest.raises(BadCheckpoint, match=r"model\.safetensors .*is corrupt"):
        read_checkpoint(folder)


def test_longer_than_it_says(folder):
    with (folder / "model.safetensors").open("ab") as stream:
        stream.write(b"more")
    with pytest.raises(BadCheckpoint, match="too long"):
        read_checkpoint(folder)


_GOOD = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}


@pytest.mark.parametrize(
    ("entries", "says"),
    [
        (b"not json", "not JSON"),
        (b"[1, 2]", "not a JSON object"),
        (b"[" * 100_000, "not JSON"),
        ({"a": 5}, "malformed"),
        ({"a": {**_GOOD, "data_offsets": [0]}}, "malformed"),
        ({"a": {**_GOOD, "dtype": "PICKLE"}}, "PICKLE"),
        ({"a": {**_GOOD, "dtype": ["F32"]}}, "dtype"),
        ({"a": {**_GOOD, "shape": [-2]}}, "shape"),
        ({"a": {**_GOOD, "shape": [10**30]}}, "is not 8 bytes"),
        ({"a": {**_GOOD, "shape": [3]}}, "is not 8 bytes"),
        ({"a": {**_GOOD, "data_offsets": [-8, 0]}}, "shape"),
        ({"a": {**_GOOD, "data_offsets": [True, 8]}}, "shape"),
        ({"a": {**_GOOD, "data_offsets": [8, 16]}}, "gap or overlap"),
        ({"a": _GOOD, "b": _GOOD}, "gap or overlap"),
    ],
)
def test_headers_that_lie(folder, entries, says):
    _write(folder / "model.safetensors", entries, data=bytes(8))
    with pytest.raises(BadCheckpoint, match=says):
        read_checkpoint(folder)


def test_a_header_longer_than_its_file(folder):
    _write(folder / "model.safetensors", {"a": _GOOD}, data=bytes(8), length=2**62)
    with pytest.raises(BadCheckpoint, match="its header would be"):
        read_checkpoint(folder)


def test_git_lfs_pointer(folder):
    (folder / "model.safetensors").write_text(
        "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n"
    )
    with pytest.raises(BadCheckpoint, match="git lfs pull"):
        read_checkpoint(folder)


def test_a_missing_shard(sharded):
    lost = sorted(sharded.glob("*.safetensors"))[1]
    lost.unlink()
    with pytest.raises(BadCheckpoint, match=f"{lost.name} is missing"):
        read_checkpoint(sharded)


def test_shards_without_an_index(sharded):
    (sharded / "model.safetensors.index.json").unlink()
    with pytest.raises(BadCheckpoint, match=r"no model\.safetensors\.index\.json"):
        read_checkpoint(sharded)


@pytest.mark.parametrize(
    "name", ["../x.safetensors", "/etc/x.safetensors", "..\\x.safetensors", "a/b.safetensors", "x.bin"]
)
def test_an_index_that_leads_elsewhere(sharded, name):
    index = sharded / "model.safetensors.index.json"
    content = json.loads(index.read_text())
    content["weight_map"][next(iter(content["weight_map"]))] = name
    index.write_text(json.dumps(content))
    with pytest.raises(BadCheckpoint, match="in the same folder"):
        read_checkpoint(sharded)


@pytest.mark.parametrize("content", ["[]", '{"weight_map": {}}', '{"weight_map": {"a": 5}}', "{", "\xff"])
def test_an_index_that_is_none(sharded, content):
    (sharded / "model.safetensors.index.json").write_text(content, encoding="latin-1")
    with pytest.raises(BadCheckpoint, match=r"model\.safetensors\.index\.json"):
        read_checkpoint(sharded)


def test_an_index_that_disagrees(sharded):
    index = sharded / "model.safetensors.index.json"
    content = json.loads(index.read_text())
    content["weight_map"]["model.nothing"] = min(content["weight_map"].values())
    index.write_text(json.dumps(content))
    with pytest.raises(BadCheckpoint, match=r"model\.nothing"):
        read_checkpoint(sharded)


def test_a_weight_twice(sharded):
    first, second = sorted(sharded.glob("*.safetensors"))[:2]
    second.write_bytes(first.read_bytes())
    with pytest.raises(BadCheckpoint, match="and again in"):
        read_checkpoint(sharded)


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("pytorch_model.bin", "pickle only"),
        ("model.pt", "pickle only"),
        ("model.gguf", "GGUF"),
        (None, "no weights"),
    ],
)
def test_no_safetensors(folder, name, says):
    (folder / "model.safetensors").unlink()
    if name:
        (folder / name).write_bytes(b"weights")
    with pytest.raises(BadCheckpoint, match=says):
        read_checkpoint(folder)


def test_an_adapter(folder):
    (folder / "adapter_config.json").write_text("{}")
    with pytest.raises(BadCheckpoint, match="adapter"):
        read_checkpoint(folder)


@pytest.mark.parametrize(
    ("content", "says"), [("{", "JSON"), ("[]", "not a JSON object"), (None, "no config.json")]
)
def test_a_bad_configuration(folder, content, says):
    if content is None:
        (folder / "config.json").unlink()
    else:
        (folder / "config.json").write_text(content)
    with pytest.raises(BadCheckpoint, match=says):
        read_checkpoint(folder)

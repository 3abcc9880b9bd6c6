"""The container: written whole or not at all; whatever is damaged, forged or hostile is refused."""

from __future__ import annotations

import os
import random
import stat
import zipfile

import pytest
from support.forged import forge, members, refused, restate, zipped

from gemma_lab.errors import BadTrace, LabError
from gemma_lab.trace.storage import schema, trace_file
from gemma_lab.trace.trace import open_trace

# ── writing ──────────────────────────────────────────────────────────────────────────────────────────


def test_a_failed_save_leaves_what_was_there(saved, trace, tmp_path, monkeypatch):
    before = saved.read_bytes()

    def fail(*_args, **_options):
        raise KeyboardInterrupt

    monkeypatch.setattr(trace_file, "write_table", fail)
    with pytest.raises(KeyboardInterrupt):
        trace.save(saved)
    assert saved.read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["a.trace"]


def test_a_full_disk_is_said_and_leaves_nothing(trace, tmp_path, monkeypatch):
    def full(*_args, **_options):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(LabError, match="No space left on device"):
        trace.save(tmp_path / "a.trace")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("where", ["nowhere/a.trace", "", "plain/a.trace"])
def test_a_place_that_cannot_be_written_is_said(where, trace, tmp_path):
    (tmp_path / "plain").write_text("a file")
    with pytest.raises(LabError, match="cannot be written"):
        trace.save(tmp_path / where)
    assert [path.name for path in tmp_path.iterdir()] == ["plain"]


def test_a_new_file_has_the_usual_permissions(saved, tmp_path):
    (tmp_path / "usual").touch()
    assert stat.S_IMODE(saved.stat().st_mode) == stat.S_IMODE((tmp_path / "usual").stat().st_mode)


def test_a_link_stays_a_link(trace, tmp_path):
    (tmp_path / "real").touch()
    link = tmp_path / "link"
    link.symlink_to("real")
    trace.save(link)
    assert link.is_symlink()
    assert open_trace(tmp_path / "real").equal(trace)


# ── what is no trace ─────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "begins with b''"),
        (b"\x80\x04pickle", "begins with"),
        (b"PK", "cut short"),
        (b"PK\x03\x04" * 99, "cut"),
    ],
)
def test_what_is_no_zip_is_refused(content, said, tmp_path):
    (tmp_path / "a").write_bytes(content)
    refused(tmp_path / "a", said)


def test_no_file_and_a_folder_are_refused(tmp_path):
    refused(tmp_path / "none", "does not exist")
    refused(tmp_path, "is a folder")


def test_another_zip_is_refused(tmp_path):
    (tmp_path / "a").write_bytes(zipped({"readme.txt": b"hello"}))
    refused(tmp_path / "a", r"no manifest\.json")
    (tmp_path / "a").write_bytes(zipped({"manifest.json": b'{"format": "docx"}'}))
    refused(tmp_path / "a", "of something else")


@pytest.mark.parametrize(
    "manifest", [b"[]", b"{", b"\xff", b"[" * 100_000, b'{"a": 1, "a": 2}', b'{"a": NaN}']
)
def test_a_manifest_that_is_no_json_object_is_refused(manifest, saved):
    forge(saved, lambda m: m.update({"manifest.json": manifest}), seal=False)
    refused(saved, "not a valid trace")


def test_another_version_says_what_to_do(saved):
    restate(saved, lambda m: m.update(version=99))
    with pytest.raises(BadTrace, match=r"version 99[\s\S]*pip install --upgrade"):
        open_trace(saved)
    for version in (0, 1, 2, -1, "1", True, None, 1.0, [1]):
        restate(saved, lambda m, version=version: m.update(version=version))
        refused(saved, "version")


# ── damage ───────────────────────────────────────────────────────────────────────────────────────────


def test_a_file_cut_anywhere_is_refused(saved):
    whole = saved.read_bytes()
    places = random.Random(1)
    for length in [*range(1, 40), len(whole) - 1, *(places.randrange(len(whole)) for _ in range(60))]:
        saved.write_bytes(whole[:length])
        with pytest.raises(BadTrace):
            open_trace(saved)


@pytest.mark.parametrize("seed", range(2))
def test_flipped_bits_open_equal_or_are_refused(seed, saved, trace):
    whole, places, refusals = saved.read_bytes(), random.Random(seed), 0
    for _ in range(120):
        damaged = bytearray(whole)
        for _ in range(places.choice((1, 1, 2, 4))):
            damaged[places.randrange(len(damaged))] ^= 1 << places.randrange(8)
        saved.write_bytes(damaged)
        try:
            assert open_trace(saved).equal(trace)
        except BadTrace:
            refusals += 1
    assert refusals > 100  # what is left are dates and other fields that nobody reads


def test_a_changed_directory_opens_equal_or_is_refused(saved, trace):
    whole, places = saved.read_bytes(), random.Random(7)
    for _ in range(100):
        damaged = bytearray(whole)
        damaged[-1 - places.randrange(600)] = places.randrange(256)
        saved.write_bytes(damaged)
        try:
            assert open_trace(saved).equal(trace)
        except BadTrace:
            continue


@pytest.mark.parametrize(
    "name", ["arrays.safetensors", "tables/tokens.parquet", "tables/generation.parquet", "images/0.png"]
)
def test_every_member_is_checked_by_its_hash(name, saved):
    def alter(contents):
        data = bytearray(contents[name])
        data[len(data) // 2] ^= 1
        contents[name] = bytes(data)

    forge(saved, alter, seal=False)  # the ZIP's own checksums are right again
    refused(saved, f"{name} is damaged: its SHA-256")


# ── hostile containers ───────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "name", ["../../evil", "/etc/passwd", "C:\\evil", "run.py", "tables/evil.parquet", "images/٣.png"]
)
def test_other_members_are_refused(name, saved):
    forge(saved, lambda m: m.update({name: b"data"}))
    refused(saved, "which no trace does")


def test_members_that_the_manifest_has_no_use_for_are_refused(saved):
    forge(saved, lambda m: m.update({"images/7.png": m["images/0.png"]}))
    refused(saved, r"images/7\.png, for which its manifest has no use")


def test_a_member_that_is_missing_is_named(saved):
    forge(saved, lambda m: m.pop("tables/tokens.parquet"))
    refused(saved, r"it lacks tables/tokens\.parquet")


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_two_members_of_one_name_are_refused(saved):
    with zipfile.ZipFile(saved, "a") as container:
        container.writestr("arrays.safetensors", b"another")
    refused(saved, "two members have one name")


def test_compressed_members_are_refused_unread(saved):
    forge(
        saved, lambda m: m.update({"arrays.safetensors": bytes(50_000_000)}), compression=zipfile.ZIP_DEFLATED
    )
    assert saved.stat().st_size < 200_000
    refused(saved, "compressed")


def test_sizes_that_the_file_does_not_have_are_refused(saved):
    whole = bytearray(saved.read_bytes())
    place = whole.index(b"PK\x01\x02")  # its first directory entry
    whole[place + 20 : place + 28] = (2**31).to_bytes(4, "little") * 2
    saved.write_bytes(whole)
    refused(saved, "its members claim")


def test_overlapping_members_are_refused(saved):
    with zipfile.ZipFile(saved) as container:
        count, total = len(container.infolist()), sum(info.file_size for info in container.infolist())
    whole = bytearray(saved.read_bytes())
    place = whole.index(b"PK\x01\x02")
    for _ in range(count):
        whole[place + 20 : place + 28] = total.to_bytes(4, "little") * 2
        place = whole.find(b"PK\x01\x02", place + 1)
    saved.write_bytes(whole)
    refused(saved, "its members claim")


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFIFO, stat.S_IFCHR])
def test_links_and_devices_are_refused(kind, saved):
    contents = members(saved)
    with zipfile.ZipFile(saved, "w") as container:
        for name, data in contents.items():
            info = zipfile.ZipInfo(name)
            info.external_attr = (kind if name == "arrays.safetensors" else stat.S_IFREG) << 16
            container.writestr(info, data)
    refused(saved, "a link or a device")


def test_a_huge_manifest_is_refused_unread(saved, monkeypatch):
    monkeypatch.setattr(schema, "MAX_MANIFEST", 500)
    refused(saved, "more than 500")

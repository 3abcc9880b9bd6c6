"""Bytes of a medium: whatever is ot an ordinary file, or too large, is refused before it is read."""

from __future__ import annotations

import pytest

from gemma_lab.errors import BadMedia
from gemma_lab.models.media import sources
from gemma_lab.models.media.sources import read_file


def test_path_bytes_and_open_file_are_the_same(tmp_path):
    path = tmp_path / "a.bin"
    path.write_bytes(b"abc")
    with path.open("rb") as file:
        assert [read_file(each, noun="sound")[0] for each in (path, str(path), b"abc", file)] == [b"abc"] * 4


@pytest.mark.parametrize(
    ("source", "match"),
    [
        ("/dev/zero", "ot an ordinary file"),
        ("/", "ot an ordinary file"),
        ("no/such", "No such file"),
        ("a\0b", "cannot be read"),
    ],
)
def test_what_is_no_file(source, match):
    with pytest.raises(BadMedia, match=match):
        read_file(source, noun="sound")


def test_too_large_is_said_before_it_is_read(tmp_path, monkeypatch):
    path = tmp_path / "big"
    with path.open("wb") as file:
        file.truncate(sources.MAX_BYTES + 1)  # sparse
    monkeypatch.setattr(type(path), "read_bytes", lambda self: pytest.fail("it was read"))
    with pytest.raises(BadMedia, match="too large"):
        read_file(path, noun="picture")


def test_text_is_no_bytes(tmp_path):
    path = tmp_path / "a"
    path.write_text("x")
    with path.open() as file, pytest.raises(BadMedia, match="returns str"):
        read_file(file, noun="sound")

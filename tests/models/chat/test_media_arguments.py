"""Media as callers pass them: one or several, and the sources that parts of messages name."""

from __future__ import annotations

import base64

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gemma_lab.errors import BadPrompt
from gemma_lab.models.chat.media_arguments import local_source, media_list, part_kind, part_source


@settings(max_examples=100, deadline=None)
@given(st.binary(min_size=48, max_size=300))
def test_long_base64_text_is_bytes(data):
    text = base64.b64encode(data).decode()
    lines = base64.encodebytes(data).decode()
    assert local_source(text) == local_source(lines) == data
    for part in ({"type": "image", "base64": text}, {"type": "audio", "data": text}):
        assert part_source(part, part["type"], "It") == data


@pytest.mark.parametrize("name", ["photo.png", "a/b/c", "x" * 70 + ".png", "data:image/png;base64,AAAA", ""])
def test_names_and_addresses_stay_text(name):
    assert local_source(name) == name


def test_a_file_whose_name_is_base64_stays_a_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    name = "a" * 64
    (tmp_path / name).write_bytes(b"x")
    assert local_source(name) == name
    assert local_source(f"file://{tmp_path}/{name}") == str(tmp_path / name)


@pytest.mark.parametrize(
    ("kind", "value", "count"),
    [
        ("image", None, 0),
        ("image", np.zeros((4, 5)), 1),
        ("image", np.zeros((4, 5, 3)), 1),
        ("image", np.zeros((2, 4, 5, 3)), 2),
        ("image", ("a.png", "b.png"), 2),
        ("image", {"bytes": b"x", "path": None}, 1),
        ("audio", (np.zeros(9), 16_000), 1),
        ("audio", [(np.zeros(9), 16_000)] * 2, 2),
        ("video", ([1, 2], 2.0), 1),
        ("video", [], 0),
    ],
)
def test_how_many_media_an_argument_is(kind, value, count):
    assert len(media_list(kind, value)) == count


def test_types_of_parts():
    for kind in ("image", "video", "audio"):
        for name in (kind, f"{kind}_url", f"input_{kind}"):
            assert part_kind({"type": name}) == kind
    assert part_kind({"type": "text"}) is part_kind({}) is part_kind({"type": ["image"]}) is None


def test_a_part_names_one_source():
    for part in ({"type": "image"}, {"type": "image", "image": "a.png", "url": "b.png"}):
        with pytest.raises(BadPrompt):
            part_source(part, "image", "It")

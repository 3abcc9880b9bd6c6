"""Rows that are fetched from the model again are those that a trace kept."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from moe import hooks
from PIL import Image

import gemma_lab as gl
from gemma_lab.errors import BadTrace, LabError

RED = Image.new("RGB", (96, 64), "red")


@pytest.mark.parametrize("size", ["E2B", "26B-A4B"])
@pytest.mark.parametrize("images", [(), (RED,)], ids=["text", "picture"])
def test_rows_are_those_of_the_trace(tiny_lab, tmp_path, size, images):
    lab = tiny_lab(size)
    rows = (0, 9, -1)
    trace = lab.trace("What is this?", images=images, generate=6, attention=gl.AttentionRequest(rows=rows))
    kept = trace.attention
    opened = gl.open_trace(trace.save(tmp_path / "a.trace", images=True))
    before = hooks(lab.model)
    found = lab.attention_rows(opened, [*kept.rows, len(trace) - 1])
    assert set(found) == {(layout.layer, q) for layout in kept.layers for q in (*kept.rows, len(trace) - 1)}
    for (layer, query), row in found.items():
        np.testing.assert_allclose(row.sum(-1), 1, atol=1e-4)
        if query in kept.rows:
            np.testing.assert_allclose(row, kept.row(layer, query), atol=1e-3)
        keys, weights = kept.top(layer)
        for head in range(4):
            there = keys[head, query] >= 0
            np.testing.assert_allclose(
                row[head, keys[head, query][there]], weights[head, query][there], atol=1e-3
            )
    assert hooks(lab.model) == before


def test_one_layer_alone_and_nothing(tiny_lab):
    lab = tiny_lab("26B-A4B")
    trace = lab.trace("Hello")
    assert set(lab.attention_rows(trace, [3], layers=[5])) == {(5, 3)}
    assert lab.attention_rows(trace, []) == {}


def test_an_edit_is_applied_again(tiny_lab):
    lab = tiny_lab("26B-A4B")
    edit = gl.Edit(ablate_experts={0: range(64)})
    asked = gl.AttentionRequest(rows=(5,), layers=[5])
    trace, plain = (lab.trace("Hello there", attention=asked, edit=each) for each in (edit, None))
    np.testing.assert_allclose(lab.attention_rows(trace, [5])[5, 5], trace.attention.row(5, 5), atol=1e-4)
    assert np.abs(trace.attention.row(5, 5) - plain.attention.row(5, 5)).max() > 1e-3
    with lab.edit(ablate_experts={0: [1]}), pytest.raises(LabError, match="another edit"):
        lab.attention_rows(plain, [5])


def test_what_cannot_be_read_again_is_said(tiny_lab, tmp_path):
    lab = tiny_lab("26B-A4B")
    trace = lab.trace("What?", images=[RED])
    without = gl.open_trace(trace.save(tmp_path / "a.trace"))
    with pytest.raises(BadTrace, match="does not hold the media"):
        lab.attention_rows(without, [3])
    with pytest.raises(LabError, match="not all rows"):
        lab.attention_rows(trace, [len(trace)])
    with pytest.raises(BadTrace, match="is of another"):
        lab.attention_rows(replace(trace, meta=trace.meta | {"model": "another"}), [3])
    with pytest.raises(BadTrace, match="other tokens"):
        lab.attention_rows(replace(trace, meta=trace.meta | {"prompt": "<bos>Something else<|image|>"}), [3])


def test_pieces(tiny_lab, monkeypatch):
    from gemma_lab.models import prefill

    lab = tiny_lab("26B-A4B")
    trace = lab.trace("A long story. " * 9, attention=gl.AttentionRequest(rows=(50,)))
    monkeypatch.setattr(prefill, "WHOLE", 20)
    monkeypatch.setattr(prefill, "PIECE", 16)
    found = lab.attention_rows(trace, [50])
    for layer in range(6):
        np.testing.assert_allclose(found[layer, 50], trace.attention.row(layer, 50), atol=1e-3)

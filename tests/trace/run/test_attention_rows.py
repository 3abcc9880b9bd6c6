"""Rows that are fetched from the model again are those that a trace kept."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from support.moe import hooks

import gemma_lab as gl
from gemma_lab.errors import BadTrace, LabError
from gemma_lab.trace.interventions.apply import EditContext, active_edit

RED = Image.new("RGB", (96, 64), "red")


@pytest.mark.parametrize("size", ["E2B", "26B-A4B"])
@pytest.mark.parametrize("images", [(), (RED,)], ids=["text", "picture"])
def test_rows_are_those_of_the_trace(tiny_lab, tmp_path, size, images):
    lab = tiny_lab(size)
    rows = (0, 9, -1)
    trace = lab.trace(
        "What is this?", images=images, max_new_tokens=6, attention=gl.AttentionRequest(rows=rows)
    )
    kept = trace.attention
    opened = gl.open_trace(trace.save(tmp_path / "a.trace", images=True))
    before = hooks(lab.model)
    found = lab.attention_rows(opened, [*kept.rows, len(trace) - 1])
    assert set(found) == {(layout.layer, q) for layout in kept.layers for q in (*kept.rows, len(trace) - 1)}
    for (layer, query), row in found.items():
        np.testing.assert_allclose(row.sum(-1), 1, atol=1e-4)
        if query in kept.rows:
            np.testing.assert_allclose(row, kept.row(layer, query), rtol=0, atol=1e-5)
        keys, weights = kept.top_keys(layer)
        for head in range(4):
            there = keys[head, query] >= 0
            np.testing.assert_allclose(
                row[head, keys[head, query][there]], weights[head, query][there], rtol=0, atol=1e-5
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
    with lab.edit(ablate_experts={0: [1]}), pytest.raises(LabError, match="edit is another"):
        lab.attention_rows(plain, [5])


def edits(lab):
    """Edits of every kind that a model has; two of them also act on what is generated."""
    read = lab.activations("Another text", layers=[1, 2], positions=[2, 3])
    late = gl.AttentionKnockout(queries=(6, None), keys=(2, 4))
    found = [
        gl.Edit(ablate_heads={1: [0], 2: [1]}, knock_out_attention=late),
        gl.Edit(patch=gl.Patch(read, positions=[5, 40])),
    ]
    if "experts" in lab.facts():
        experts = {"ablate_experts": {0: range(40)}, "boost_experts": {1: {3: 5.0}}, "force_experts": [90]}
        found.append(gl.Edit(**experts))
    return found


@pytest.mark.parametrize("size", ["E2B", "26B-A4B"])
def test_rows_of_an_edited_run_are_those_captured_then_and_the_lab_stays_as_it_was(tiny_lab, tmp_path, size):
    lab = tiny_lab(size)
    asked = gl.AttentionRequest(rows=(9, 38, 42), top_k=0, pooled=False, statistics=False)
    plain = lab.trace("Hello there, what is it?", max_new_tokens=6, attention=asked)
    for edit in edits(lab):
        with lab.edit(edit):
            trace = lab.trace("Hello there, what is it?", max_new_tokens=6, attention=asked)
        opened = gl.open_trace(trace.save(tmp_path / "a.trace"))
        held, config, reply = hooks(lab.model), lab.config.to_dict(), lab.last_reply
        found = lab.attention_rows(opened, asked.rows)
        assert (hooks(lab.model), lab.config.to_dict()) == (held, config)
        assert (active_edit(lab.model), lab.last_reply) == (gl.Edit(), reply)
        for (layer, query), row in found.items():
            np.testing.assert_allclose(row, trace.attention.row(layer, query), rtol=0, atol=1e-5)
        assert any(
            np.abs(row - plain.attention.row(*place)).max() > 1e-2 for place, row in found.items()
        )  # the edit shows, so that rows without it would not have passed
        with lab.edit(edit):  # under the very edit it is not applied twice
            again = lab.attention_rows(opened, asked.rows)
            assert active_edit(lab.model) == edit
        for place, row in again.items():
            np.testing.assert_array_equal(row, found[place])


def test_an_edit_that_cannot_be_applied_again_is_said_and_leaves_nothing(tiny_lab):
    lab = tiny_lab("26B-A4B")
    trace, held = lab.trace("Hello there"), hooks(lab.model)
    broken = {
        "unreadable": {"patch": [{"source": "lost", "positions": [3]}]},
        "of another model": gl.Edit(ablate_heads={99: [0]}).to_dict(),
    }
    for made in broken.values():
        with pytest.raises(BadTrace, match=r"cannot be applied again[\s\S]*AttentionRequest\(rows"):
            lab.attention_rows(replace(trace, meta=trace.meta | {"edit": made}), [3])
    # what fails while the model runs: a token that may look at nothing
    blind = gl.Edit(knock_out_attention=gl.AttentionKnockout(queries=(3, 4), keys=(0, 4))).to_dict()
    with pytest.raises(LabError, match="Token 3"):
        lab.attention_rows(replace(trace, meta=trace.meta | {"edit": blind}), [3])
    assert (hooks(lab.model), active_edit(lab.model)) == (held, gl.Edit())


def test_another_threads_edit_is_noticed(tiny_lab, monkeypatch):
    lab = tiny_lab("26B-A4B")
    trace = lab.trace("Hello there")

    class Late:
        """The lab's lock, waited for until another thread has entered its block."""

        def take(self, holder, until=None):
            self.block = EditContext(lab.model, gl.Edit(ablate_experts={0: [1]}))
            self.block.__enter__()
            return True

        def drop(self, holder):
            self.block.__exit__(None, None, None)

    monkeypatch.setattr(lab, "lock", Late())
    with pytest.raises(LabError, match="edit is another"):
        lab.attention_rows(trace, [3])
    assert active_edit(lab.model) == gl.Edit()


def test_what_cannot_be_read_again_is_said(tiny_lab, tmp_path):
    lab = tiny_lab("26B-A4B")
    trace = lab.trace("What?", images=[RED])
    without = gl.open_trace(trace.save(tmp_path / "a.trace"))
    with pytest.raises(BadTrace, match="1 of 1 media"):
        lab.attention_rows(without, [3])
    with pytest.raises(BadTrace, match="1 of 1 media"):
        lab.attention_rows(replace(trace, images=(Image.new("RGB", (96, 64), "blue"),)), [3])
    two = lab.trace(
        "What?", images=[RED, Image.new("RGB", (60, 40), "blue")]
    )  # interrupted before its second picture
    with pytest.raises(BadTrace, match="media"):
        lab.attention_rows(replace(two, images=(RED,)), [3])
    with pytest.raises(LabError, match=str(len(trace) - 1)):
        lab.attention_rows(trace, [len(trace)])
    with pytest.raises(BadTrace, match="is of another"):
        lab.attention_rows(replace(trace, meta=trace.meta | {"model": "another"}), [3])
    other = lab.request("Something else", images=[RED])
    with pytest.raises(BadTrace, match="other tokens"):
        lab.attention_rows(replace(trace, meta=trace.meta | {"request": other.to_meta()}), [3])


def test_pieces(tiny_lab, monkeypatch):
    from gemma_lab.models.chat import prefill_plan

    lab = tiny_lab("26B-A4B")
    trace = lab.trace("A long story. " * 9, attention=gl.AttentionRequest(rows=(50,)))
    monkeypatch.setattr(prefill_plan, "SINGLE_PASS_TOKENS", 20)
    monkeypatch.setattr(prefill_plan, "CHUNK_TOKENS", 16)
    found = lab.attention_rows(trace, [50])
    for layer in range(6):
        np.testing.assert_allclose(found[layer, 50], trace.attention.row(layer, 50), atol=1e-3)

"""The explorer of a comparison sends what the comparison holds, and opens the traces behind it."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest
import traitlets

import gemma_lab as gl
from gemma_lab.errors import BadTrace, LabError
from gemma_lab.widgets.shared.wire import unpack
from gemma_lab.widgets.shared.wire_types import BUFFERS, META

PROMPTS = ["What is this?", "Count: one, two,", "<script>alert(1)</script>"]
EDIT = gl.Edit(ablate_experts=range(50))
QUIET = {"progress": False, "max_new_tokens": 5, "rounds": 0}


@pytest.fixture(scope="module")
def versus(tiny_lab):
    return gl.versus(tiny_lab("26B-A4B"), EDIT, PROMPTS, **QUIET)


@pytest.fixture(scope="module")
def dense(tiny_lab):
    return gl.versus(tiny_lab("E2B"), gl.Edit(ablate_heads={0: [0]}), PROMPTS[:2], attention_rows=0, **QUIET)


@pytest.fixture
def explorer(versus):
    return gl.VersusExplorer(versus, prompt=1)


def test_the_buffer_holds_the_comparison(versus, explorer):
    arrays, meta = unpack(explorer._cells)
    assert {name: array.dtype.name for name, array in arrays.items()} == {
        name: kinds[0] for name, kinds in BUFFERS["VersusBuffer"].items()
    }
    assert tuple(meta) == META["VersusBuffer"]
    columns = np.flatnonzero(versus.columns[:, 0] == 1)
    np.testing.assert_allclose(arrays["flipped"] / 65535, versus.routing.flipped[:, columns], atol=1e-5)
    np.testing.assert_allclose(arrays["weight"] / 65535, versus.routing.weight[:, columns], atol=1e-5)
    kl = arrays["kl"][~np.isnan(arrays["kl"])]
    np.testing.assert_allclose(kl, versus.tokens.kl[versus.tokens.prompt == 1], rtol=1e-6)
    first, second = versus.traces[1]
    assert (arrays["first_ids"] == first.routing.ids).all()
    assert (arrays["second_ids"] == second.routing.ids).all()
    rows = [top["row"] for top in meta["tops"]]
    assert rows == versus.tokens.row[versus.tokens.prompt == 1].tolist()
    assert [top["next"] for top in meta["tops"]] == [
        versus.vocabulary[int(index)] for index in versus.tokens.ids[versus.tokens.prompt == 1]
    ]
    best = [
        [versus.vocabulary[int(i)] for i in pair] for pair in versus.tokens.top_ids[versus.tokens.prompt == 1]
    ]
    assert [[side[0][0] for side in top["sides"]] for top in meta["tops"]] == best
    assert all(0 <= p <= 1 for top in meta["tops"] for side in top["sides"] for _, p in side)


def test_it_opens_where_the_models_differ_most(versus):
    assert gl.VersusExplorer(versus).prompt == versus.worst(1)[0].prompt


def test_views_select_and_show(explorer, versus):
    explorer._receive(None, {"type": "select", "view": "v", "seq": 2, "layer": 3, "tokens": [4]}, [])
    assert (explorer.layer, explorer.selected_tokens) == (3, [4])
    assert explorer._ack == {"view": "v", "seq": 2}
    epoch = explorer._facts["epoch"]
    explorer._receive(None, {"type": "show", "prompt": 0}, [])
    assert explorer.prompt == 0
    assert explorer.selected_tokens == []
    assert explorer._facts["epoch"] == epoch + 1
    assert explorer.trace is versus.traces[0][0]
    explorer._receive(None, {"type": "show", "prompt": "x"}, [])
    explorer._receive(None, {"type": "select", "view": "v", "seq": 3, "layer": 99, "tokens": []}, [])
    assert explorer.prompt == 0
    assert "99" in explorer._notice["what"]
    with pytest.raises(LabError):
        explorer.prompt = 7
    with pytest.raises(LabError):
        explorer.selected_tokens = [10_000]


def test_the_traces_open_with_the_same_token(explorer, versus):
    explorer.selected_tokens = [5]
    for index, side in enumerate(("first", "second")):
        opened = explorer.explorer(side)
        assert isinstance(opened, gl.Explorer)
        assert opened.trace is versus.traces[1][index]
        assert opened.selected_tokens == [5]
    linked = gl.RoutingExplorer(versus.traces[1][1])
    traitlets.link((explorer, "selected_tokens"), (linked, "selected_tokens"))
    explorer.selected_tokens = [6]
    assert linked.selected_tokens == [6]
    with pytest.raises(LabError):
        explorer.explorer("third")


def test_without_experts_there_is_the_divergence_alone(dense):
    explorer = gl.VersusExplorer(dense)
    arrays, meta = unpack(explorer._cells)
    assert meta["layers"] == []
    assert "flipped" not in arrays
    assert explorer._facts["chance"] is None
    assert "KL" in explorer._static_fallback()[0]
    with pytest.raises(BadTrace):
        explorer.explorer()  # neither routing nor attention was read


def test_the_saved_page_has_every_prompt_and_no_markup_of_texts(explorer, tmp_path):
    page = explorer.to_html(tmp_path / "a.html").read_text()
    state = json.loads(re.search(r'id="gemma-lab-state">(.*?)</script>', page)[1])
    assert set(state["answers"]) == {"prompt-0", "prompt-1", "prompt-2"}
    assert "<script>alert(1)" not in page
    with pytest.raises(LabError):
        explorer.to_html(tmp_path / "missing" / "a.html")


def test_the_fallback_is_static_and_escaped(versus):
    html, text = gl.VersusExplorer(versus, prompt=2)._static_fallback()
    assert "<script" not in html
    assert "data:image/png" in html
    assert "of slots flipped" in text


@pytest.mark.parametrize("wrong", [None, "mini-moe", 5])
def test_anything_else_is_refused(wrong):
    with pytest.raises(LabError):
        gl.VersusExplorer(wrong)


def test_a_comparison_without_tokens_is_refused(versus):
    from dataclasses import replace

    nothing = replace(
        versus, columns=versus.columns[:0], tokens=None, absent={"tokens": "another vocabulary"}
    )
    with pytest.raises(BadTrace, match="another vocabulary"):
        gl.VersusExplorer(nothing)
    with pytest.raises(LabError):
        gl.VersusExplorer(versus, prompt=9)

from __future__ import annotations

import dataclasses
import re
import time

import numpy as np
import pytest
from support.attention_traces import arabic, attended, long, picture, text

import gemma_lab as gl
from gemma_lab.errors import BadTrace, LabError
from gemma_lab.widgets.attention.widget import AttentionExplorer
from gemma_lab.widgets.shared import base
from gemma_lab.widgets.shared.bundle import bundle
from gemma_lab.widgets.shared.wire import unpack

VIEW = "application/vnd.jupyter.widget-view+json"


class Reader:
    """A lab that reads rows again, as invented as the trace's."""

    def __init__(self, trace, *, broken: Exception | None = None) -> None:
        self.trace, self.asked, self.broken = trace, [], broken

    def attention_rows(self, trace, queries, *, layers=None):
        self.asked.append((list(queries), list(layers)))
        if self.broken:
            raise self.broken
        return {(layer, query): trace.attention.row(layer, query) for layer in layers for query in queries}


@pytest.fixture
def posted(monkeypatch):
    def make(trace, **options):
        explorer = AttentionExplorer(trace, **options)
        sent = []
        monkeypatch.setattr(explorer, "_post", lambda content, buffers=None: sent.append((content, buffers)))
        return explorer, sent

    return make


def test_it_opens_at_the_first_global_layer_and_says_so() -> None:
    explorer = gl.AttentionExplorer(arabic())
    assert (explorer.layer, explorer.head) == (5, 0)
    assert repr(explorer).endswith("layer 5, head 0)")
    assert "\n" not in repr(explorer)
    side = explorer._sides[0]
    assert side["facts"]["tokens"] == 39
    assert side["facts"]["heads"] == [0, 1, 2, 3]
    assert unpack(side["maps"])[1] == {"layer_index": 5}
    assert unpack(side["keys"])[1]["layer_index"] == 5


def test_a_choice_is_checked_against_the_trace() -> None:
    explorer = AttentionExplorer(arabic(), layer=2, head=3)
    explorer.layer, explorer.head, explorer.selected_tokens = 4, 1, [7, 3]
    assert explorer.selected_tokens == [7, 3]
    with pytest.raises(LabError, match=r"layer 9(.|\n)*0, 1, 2, 3, 4, 5"):
        explorer.layer = 9
    with pytest.raises(LabError, match=r"no head 4"):
        explorer.head = 4
    with pytest.raises(LabError, match=r"no token 39"):
        explorer.selected_tokens = [39]
    assert (explorer.layer, explorer.head) == (4, 1)


def test_traces_without_maps_and_of_other_models_are_refused() -> None:
    trace = arabic()
    with pytest.raises(BadTrace, match="no attention"):
        AttentionExplorer(dataclasses.replace(trace, attention=None))
    with pytest.raises(BadTrace, match="no attention maps"):
        AttentionExplorer(attended(trace, dataclasses.replace(trace.attention, bands={})))
    with pytest.raises(BadTrace, match="different layers"):
        AttentionExplorer(trace, other=arabic(layers=4))


def test_views_get_the_layers_and_stretches_they_ask_for(posted) -> None:
    explorer, sent = posted(text(1300, layers=6), other=arabic())
    explorer._receive(explorer, {"type": "maps", "side": 1, "layer_index": 2}, [])
    explorer._receive(explorer, {"type": "keys", "side": 0, "layer_index": 3, "start": 1024}, [])
    assert [content for content, _ in sent] == [
        {"type": "maps", "side": 1},
        {"type": "keys", "side": 0},
    ]
    assert unpack(sent[0][1][0])[1] == {"layer_index": 2}
    assert unpack(sent[1][1][0])[1]["start"] == 1024
    explorer._receive(explorer, {"type": "keys", "side": 0, "layer_index": 3, "start": 99_999}, [])
    explorer._receive(explorer, {"type": "rows", "side": 0, "layer_index": 3}, [])
    assert len(sent) == 2  # nothing is there to send
    explorer._receive(explorer, {"type": "maps", "side": 2, "layer_index": 0}, [])
    assert "does not have" in explorer._notice["what"]


def test_the_choice_of_a_view_is_taken_over_or_refused_but_always_heard(posted) -> None:
    explorer, _ = posted(arabic())
    chosen = {"type": "select", "view": "a", "seq": 3, "layer": 2, "head": 1, "tokens": [5]}
    explorer._receive(explorer, chosen, [])
    assert (explorer.layer, explorer.head, explorer.selected_tokens) == (2, 1, [5])
    explorer._receive(explorer, {**chosen, "seq": 4, "tokens": [99]}, [])
    assert explorer.selected_tokens == [5]
    assert explorer._ack == {"view": "a", "seq": 4}
    assert "no token 99" in explorer._notice["what"]


def test_exact_rows_are_fetched_from_the_model_and_stay(posted, tmp_path) -> None:
    trace = text(300, rows=(200, 250))
    bare = attended(trace, dataclasses.replace(trace.attention, full_rows={}))

    class Again(Reader):
        def attention_rows(self, _trace, queries, *, layers=None):
            return super().attention_rows(trace, queries, layers=layers)

    lab = Again(trace)
    explorer, sent = posted(bare, lab=lab)
    assert explorer._can_run
    explorer.fetch([250, 200, 250])
    assert lab.asked == [([200, 250], [5])]
    content, buffers = sent[-1]
    assert content == {"type": "rows", "side": 0}
    arrays, meta = unpack(buffers[0])
    assert meta == {"layer_index": 5}
    np.testing.assert_allclose(arrays["row_250"] / 65535, trace.attention.row(5, 250), atol=1e-5)
    explorer._receive(explorer, {"type": "rows", "side": 0, "layer_index": 5}, [])
    assert unpack(sent[-1][1][0])[0].keys() == {"row_200", "row_250"}
    assert '"rows-0-5"' in explorer.to_html(tmp_path / "a.html").read_text()
    with pytest.raises(LabError, match="no token 300"):
        explorer.fetch([300])
    with pytest.raises(LabError, match="no model"):
        AttentionExplorer(bare).fetch([1])


@pytest.mark.parametrize("broken", [LabError("The trace does not say what was read."), ValueError("odd")])
def test_what_goes_wrong_while_fetching_is_shown(posted, broken) -> None:
    explorer, _ = posted(text(300), lab=Reader(None, broken=broken))
    explorer._receive(explorer, {"type": "fetch", "side": 0, "layer_index": 5, "queries": [3]}, [])
    for _ in range(100):
        if explorer._notice:
            break
        time.sleep(0.02)
    said = explorer._notice
    assert said["what"] == (f"ValueError: {broken}" if isinstance(broken, ValueError) else broken.what)
    assert (explorer.error is broken) == isinstance(broken, ValueError)
    assert not explorer.busy


def test_the_bundle_holds_a_script_free_twin_and_a_stable_text(monkeypatch) -> None:
    explorer = AttentionExplorer(picture(), other=arabic())
    data, _ = explorer._repr_mimebundle_()
    assert VIEW in data
    assert "<script" not in data["text/html"]
    assert (
        data["text/plain"]
        == AttentionExplorer(picture(), other=arabic())._repr_mimebundle_()[0]["text/plain"]
    )
    assert len(data["text/plain"].splitlines()) == 2
    monkeypatch.setenv("GEMMA_LAB_STATIC", "1")
    static = AttentionExplorer(arabic())
    assert VIEW not in static._repr_mimebundle_()[0]
    assert base.is_static()


def test_a_saved_page_is_packed_says_what_it_keeps_and_loads_nothing(tmp_path) -> None:
    with pytest.raises(LabError, match="cannot be written"):
        AttentionExplorer(arabic()).to_html(tmp_path / "no" / "a.html")
    path = AttentionExplorer(long(40_000, layers=2)).to_html(tmp_path / "long.html")
    page = path.read_text()
    assert "default-src 'none'" in page.replace("&#x27;", "'")
    assert '"keys-0-1-38912"' in page
    assert '"maps-0-0"' in page
    assert not re.search(r'(src|href)="(?!data:)', page)


def test_what_notebooks_and_pages_weigh(tmp_path) -> None:
    explorer = AttentionExplorer(text(128, layers=35, heads=8, window=512))
    bundle = sum(len(part) for part in explorer._repr_mimebundle_()[0].values() if isinstance(part, str))
    live = sum(len(value) for value in explorer._sides[0].values() if isinstance(value, bytes))
    assert bundle < 300_000
    assert live * 4 / 3 < 700_000
    assert explorer.to_html(tmp_path / "a.html").stat().st_size < 3_000_000


def test_the_program_is_one_module_of_modest_size() -> None:
    program = bundle("attention/attention.js")
    assert not re.search(r"^import ", program, re.MULTILINE)
    assert len(program) < 120_000

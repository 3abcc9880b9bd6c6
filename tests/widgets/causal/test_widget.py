"""The explorer of a causal map sends its cells, and traces the patched run behind one."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest

import gemma_lab as gl
from gemma_lab.errors import LabError
from gemma_lab.widgets.shared.wire import unpack
from gemma_lab.widgets.shared.wire_types import BUFFERS, META

CLEAN, CORRUPTED = "<script>7</script>?", "<script>3</script>?"


@pytest.fixture(scope="module")
def found(tiny_lab):
    return tiny_lab("26B-A4B").causal_map(
        CLEAN, CORRUPTED, parts=["residual", "head", "expert"], controls=2, progress=False
    )


@pytest.fixture
def explorer(found, tiny_lab):
    return gl.CausalExplorer(found, lab=tiny_lab("26B-A4B"))


def test_the_buffer_holds_the_part(explorer, found):
    for part in found.parts:
        explorer.part = part
        arrays, meta = unpack(explorer._cells)
        assert {name: array.dtype.name for name, array in arrays.items()} == {
            name: kinds[0] for name, kinds in BUFFERS["CausalBuffer"].items()
        }
        assert tuple(meta) == META["CausalBuffer"]
        np.testing.assert_allclose(arrays["effects"], found.effects(part), rtol=1e-5)
        np.testing.assert_allclose(arrays["p"], found.p_values(part), rtol=1e-5)
        assert meta["layers"] == list(found.grid(part).layers)
        assert len(arrays["differs"]) == found.effects(part).shape[1]


def test_a_cell_opens_the_trace_of_the_patched_run(explorer, found):
    cell = found.top(1, part="residual")[0]
    trace = explorer.trace_cell(cell.layer, cell.column)
    assert explorer.trace is trace
    assert explorer.cell == [cell.layer, cell.column]
    clean, corrupted, patched = explorer._opened["sides"]
    assert [side["name"] for side in (clean, corrupted, patched)] == ["clean", "corrupted", "patched"]
    answer = [side["lens"][-1][2] for side in (clean, corrupted, patched)]
    expected = [found.clean_logprob, found.corrupted_logprob, found.corrupted_logprob + cell.effect]
    np.testing.assert_allclose(answer, np.exp(expected), atol=1e-5)
    assert trace.meta["edit"]["patch"]
    assert explorer.explorer().trace is trace
    json.dumps(explorer._opened)


def test_a_head_is_traced_and_its_part_shown(explorer, found):
    cell = found.top(1, part="head")[0]
    explorer.trace_cell(cell.layer, cell.column, part="head")
    assert (explorer.part, explorer.cell) == ("head", [cell.layer, cell.column])
    answer = explorer._opened["sides"][2]["lens"][-1][2]
    assert answer == pytest.approx(np.exp(found.corrupted_logprob + cell.effect), abs=1e-5)


def test_views_select_show_and_open(explorer):
    explorer._receive(None, {"type": "select", "view": "v", "seq": 2, "cell": [1, 3]}, [])
    assert explorer.cell == [1, 3]
    assert explorer._ack == {"view": "v", "seq": 2}
    explorer._receive(None, {"type": "select", "view": "v", "seq": 3, "cell": [99, 0]}, [])
    assert explorer.cell == [1, 3]
    assert "99" in explorer._notice["what"]
    explorer._receive(None, {"type": "show", "part": "expert"}, [])
    assert (explorer.part, explorer.cell) == ("expert", [])
    explorer._receive(None, {"type": "show", "part": "nothing"}, [])
    assert explorer.part == "expert"
    explorer._receive(None, {"type": "open", "part": "residual", "layer": 0, "column": 999}, [])
    assert "999" in explorer._notice["what"]


def test_without_a_model_cells_are_not_traced(found):
    explorer = gl.CausalExplorer(found)
    with pytest.raises(LabError, match="no model"):
        explorer.trace_cell(0, 0)
    with pytest.raises(LabError, match="No cell"):
        explorer.explorer()
    explorer._receive(None, {"type": "open", "part": "residual", "layer": 0, "column": 1}, [])
    assert "no model" in explorer._notice["what"]


def test_what_is_no_map_or_another_model_is_refused(found, tiny_lab):
    for wrong in ("map", None, found.to_pandas()):
        with pytest.raises(LabError, match="causal map"):
            gl.CausalExplorer(wrong)
    with pytest.raises(LabError, match="not of"):
        gl.CausalExplorer(found, lab=tiny_lab("31B"))
    with pytest.raises(LabError):
        gl.CausalExplorer(found, lab="mini-moe")


def test_it_is_saved_and_has_a_static_fallback(explorer, tmp_path):
    page = explorer.to_html(tmp_path / "page.html").read_text()
    assert "<script>7" not in page
    html, text = explorer._static_fallback()
    assert "<script" not in html
    assert re.match("denoising of the residual stream", text)
    with pytest.raises(LabError):
        explorer.to_html(tmp_path / "missing" / "page.html")

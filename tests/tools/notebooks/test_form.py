"""One form for every committed notebook."""

from __future__ import annotations

import nbformat
import pytest

from gemma_lab.errors import LabError
from tools.notebooks import form


def executed(*outputs: nbformat.NotebookNode) -> nbformat.NotebookNode:
    title = nbformat.v4.new_markdown_cell("# Title", id="title")
    code = nbformat.v4.new_code_cell("pass", id="code", execution_count=7, outputs=list(outputs))
    return nbformat.v4.new_notebook(cells=[title, code])


def test_error_outputs_are_refused():
    shown = executed(nbformat.v4.new_output("error", ename="ValueError", evalue="no", traceback=[]))
    with pytest.raises(LabError, match=r"x\.ipynb, cell 1 ended in ValueError: no"):
        form.normal(shown, name="x.ipynb")


def test_live_widgets_are_refused():
    view = {form.WIDGET_VIEW: {"model_id": "0"}, "text/plain": "Chat"}
    with pytest.raises(LabError, match="live widget"):
        form.normal(executed(nbformat.v4.new_output("display_data", data=view)), name="x.ipynb")


def test_a_notebook_that_is_too_large_is_refused():
    text = nbformat.v4.new_output("stream", text="x" * form.MAX_BYTES)
    with pytest.raises(LabError, match="at most 300,000"):
        form.normal(executed(text), name="x.ipynb")


def test_normal_is_idempotent_and_renumbers():
    stream = [nbformat.v4.new_output("stream", text=text) for text in ("a", "b")]
    once = form.normal(executed(*stream), name="x.ipynb")
    assert once.cells[1].execution_count == 1
    assert [output.text for output in once.cells[1].outputs] == ["ab"]
    assert form.dumps(form.normal(once, name="x.ipynb")) == form.dumps(once)

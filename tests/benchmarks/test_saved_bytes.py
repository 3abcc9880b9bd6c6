"""How large a saved notebook is after ten widgets, with and without the widgets' own state.

The state of every widget is saved here, which JupyterLab does only when it is asked to; the static twins are
saved always.
"""

from __future__ import annotations

import nbformat
import pytest
from nbclient import NotebookClient
from nbformat.v4 import new_code_cell, new_notebook

from tools.notebooks.execute import QUIET

START = """
import gemma_lab as gl
lab = gl.load("mini-moe", progress=False)
facts = "The code of Ada is 47. The code of Ben is 83. What is the code of Ben?"
trace = lab.trace(facts, max_new_tokens=4{more})
"""
WIDGETS = {
    "routing explorer": ("", "gl.RoutingExplorer(trace)"),
    "attention explorer": (", attention=True", "gl.AttentionExplorer(trace)"),
}


def saved(source: list[str], *, state: bool) -> int:
    notebook = new_notebook(cells=[new_code_cell(text) for text in source])
    NotebookClient(
        notebook, timeout=300, kernel_name="python3", store_widget_state=state, allow_errors=False
    ).execute()
    return len(nbformat.writes(notebook).encode())


@pytest.mark.parametrize("name", WIDGETS)
def test_ten_widgets(name, record, monkeypatch):
    for variable, value in QUIET.items():
        monkeypatch.setenv(variable, value)
    more, widget = WIDGETS[name]
    start = START.format(more=more)
    empty = saved([start], state=True)
    sizes = {state: saved([start, *[widget] * 10], state=state) - empty for state in (True, False)}
    one = saved([start, widget], state=True) - empty
    note = f"{one / 1e6:.2f} MB for one; {sizes[False] / 1e6:.2f} MB without the widgets' state"
    record("saved-notebook", sizes[True] / 1e6, "< 5", "MB", note, case=f"10 × {name}, state saved")
    assert sizes[True] < 5e6

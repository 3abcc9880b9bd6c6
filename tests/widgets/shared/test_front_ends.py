"""Front ends without a kernel: what nbconvert writes of an executed notebook with a live widget."""

from __future__ import annotations

import re

import nbformat
from nbconvert import HTMLExporter
from support.routing_traces import arabic_trace
from traitlets.config import Config

from gemma_lab.widgets.routing.widget import RoutingExplorer

PRIORITY = [
    "text/html",
    "image/svg+xml",
    "image/png",
    "text/markdown",
    "text/plain",
]  # as docs/front-ends.md has it


def executed() -> nbformat.NotebookNode:
    """Return a notebook whose only output is a live explorer."""
    data, metadata = RoutingExplorer(arabic_trace())._repr_mimebundle_()
    assert "application/vnd.jupyter.widget-view+json" in data
    output = nbformat.v4.new_output("execute_result", data=data, metadata=metadata, execution_count=1)
    return nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("explorer", outputs=[output])])


def test_the_documented_priority_exports_the_fallback():
    page, _ = HTMLExporter(
        config=Config({"NbConvertBase": {"display_data_priority": PRIORITY}})
    ).from_notebook_node(executed())
    assert 'data-mime-type="text/html"' in page
    assert re.search(r"\d+ tokens to 8 of 128 experts; busiest [^\"]+", page)
    assert "widget-view+json" not in page

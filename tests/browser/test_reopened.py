"""A saved notebook that is read without a kernel: every widget is there as its static fallback, and readable.

VS Code without its renderer, GitHub, nbviewer and nbconvert show the ``text/html`` that lies beside the live
view. Here nbconvert's page, light and dark, is opened in a real browser without a network.
"""

from __future__ import annotations

from pathlib import Path

import nbformat
import pytest
from nbconvert import HTMLExporter
from playwright.sync_api import expect
from support.every_widget import every_widget, public_widgets
from support.pages import FAINT

import gemma_lab as gl

ROOT = Path(__file__).parents[2]
SHOTS = ROOT / "build" / "screenshots"
LIVE = "application/vnd.jupyter.widget-view+json"


@pytest.fixture(scope="module")
def notebook():
    """Return a notebook as it is saved after its cells showed live widgets, without any widget's state."""
    widgets = every_widget(gl.load("mini-moe", device="cpu", progress=False))
    assert set(widgets) == public_widgets(), "a widget is missing in tests/support/every_widget.py"
    cells = []
    for name, widget in widgets.items():
        data, metadata = widget._repr_mimebundle_()
        assert LIVE in data, name
        output = nbformat.v4.new_output("display_data", data=data, metadata=metadata)
        cells.append(nbformat.v4.new_code_cell(name, outputs=[output]))
    return nbformat.v4.new_notebook(cells=cells)


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_every_widget_is_shown_and_readable_without_a_kernel(browser, tmp_path, notebook, theme):
    exporter = HTMLExporter(
        theme=theme
    )  # as a person calls it: without a widget's state it takes the fallback
    page_path = tmp_path / "saved.html"
    page_path.write_text(exporter.from_notebook_node(notebook)[0], encoding="utf-8")
    context = browser.new_context(offline=True, color_scheme=theme, viewport={"width": 1000, "height": 900})
    page = context.new_page()
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.goto(page_path.as_uri(), wait_until="domcontentloaded")
    outputs = page.locator(".jp-OutputArea-output")
    expect(outputs).to_have_count(len(notebook.cells))
    for number, cell in enumerate(notebook.cells):
        shown = outputs.nth(number)
        box = shown.bounding_box()
        assert box is not None, cell.source
        assert box["width"] > 300, cell.source
        assert box["height"] > 60, cell.source
        assert shown.locator("script").count() == 0, cell.source
        assert len(shown.inner_text().split()) > 3, cell.source
        assert shown.evaluate("element => element.scrollWidth <= element.clientWidth + 1"), cell.source
        assert shown.evaluate(FAINT) == [], cell.source
        SHOTS.mkdir(parents=True, exist_ok=True)
        shown.screenshot(path=str(SHOTS / f"reopened-{cell.source}-{theme}.png"))
    assert [error for error in errors if "require" not in error and "MathJax" not in error] == []
    context.close()

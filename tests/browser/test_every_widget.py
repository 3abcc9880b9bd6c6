"""Every widget in a clean kernel of a real JupyterLab: shown and readable in light and dark, and quiet."""

from __future__ import annotations

import json

import pytest
from playwright.sync_api import expect
from support.every_widget import public_widgets
from support.pages import FAINT

SETUP = """\
import gemma_lab as gl
from support.every_widget import every_widget

widgets = every_widget(gl.load("mini-moe", device="cpu", progress=False))
"""
#: A theme that changes while a cell is out of sight must not make its strips narrow.
STRIPS = """root => [...root.querySelectorAll(".gl-experts-box")].every(
  box => Math.abs(box.firstElementChild.clientWidth - box.clientWidth) < 2)"""


@pytest.fixture
def book(open_notebook):
    return open_notebook(
        SETUP, *(f"widgets[{name!r}]" for name in sorted(public_widgets())), width=1200, height=2400
    )


def test_every_widget_is_shown_and_readable_in_both_themes(book, lab_server):
    book.run_all()
    names = sorted(public_widgets())
    for theme in ("Light", "Dark"):
        book.theme(f"JupyterLab {theme}")
        for cell, name in enumerate(names, 1):
            # JupyterLab keeps only the cells in sight in the page
            book.page.evaluate("at => window.jupyterapp.shell.currentWidget.content.scrollToItem(at)", cell)
            shown = book.page.locator(f".jp-Cell[data-windowed-list-index='{cell}'] section.gl")
            expect(shown).to_be_visible(timeout=600_000)
            box = shown.bounding_box()
            assert box is not None, name
            assert box["width"] > 400, name
            assert box["height"] > 100, name
            book.shot(f"widget-{name}-{theme.lower()}", shown)
            assert shown.evaluate(FAINT) == [], f"{name} in {theme}"
            assert shown.evaluate(STRIPS), f"{name} in {theme}: its strips of experts fill their box"
    book.check_quiet()
    _, work = lab_server
    book.page.evaluate("window.jupyterapp.commands.execute('docmanager:save')")
    saved = next(path for path in work.glob("n*.ipynb") if "widget-view+json" in _text(path, names))
    outputs = [cell["outputs"] for cell in json.loads(saved.read_text("utf-8"))["cells"][1:]]
    assert all("text/html" in one["data"] for cell in outputs for one in cell), (
        "without a kernel: the fallback"
    )


def _text(path, names):
    text = path.read_text("utf-8")
    return text if all(name in text for name in names) else ""

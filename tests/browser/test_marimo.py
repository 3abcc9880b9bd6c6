"""Every widget in marimo, in a real browser: shown, used, and read back from Python."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import Page, expect
from support.every_widget import public_widgets
from support.servers import free_port, wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Browser

ROOT = Path(__file__).parents[2]
#: The last cell is run again whenever the attention explorer selects another head.
HEAD = """
import marimo

app = marimo.App(width="full")


@app.cell
def _():
    import marimo as mo
    import gemma_lab as gl
    from support.every_widget import every_widget

    lab = gl.load("mini-moe", progress=False)
    widgets = every_widget(lab)
    return gl, lab, mo, widgets


@app.cell
def _(gl, lab, mo):
    mo.ui.anywidget(gl.Chat(lab))
    return


@app.cell
def _(mo, widgets):
    explorer = widgets["AttentionExplorer"]
    head, set_head = mo.state(explorer.head)
    explorer.observe(lambda change: set_head(change["new"]), "head")
    mo.ui.anywidget(explorer)
    return (head,)


@app.cell
def _(head, mo):
    mo.md(f"selected head {head()}")
    return
"""
CELL = """

@app.cell
def _(mo, widgets):
    mo.ui.anywidget(widgets["NAME"])
    return
"""
TAIL = """

if __name__ == "__main__":
    app.run()
"""


def notebook() -> str:
    """Return a marimo notebook with one cell per widget."""
    others = sorted(public_widgets() - {"Chat", "AttentionExplorer"})
    return HEAD + "".join(CELL.replace("NAME", name) for name in others) + TAIL


@pytest.fixture(scope="module")
def marimo_page(
    tmp_path_factory: pytest.TempPathFactory, browser: Browser
) -> Iterator[tuple[Page, list[str]]]:
    """Serve the notebook with marimo and open it; yield the page and the errors it logged."""
    home = tmp_path_factory.mktemp("marimo")
    path = home / "widgets.py"
    path.write_text(notebook())
    port = free_port()
    environment = {
        **os.environ,
        "HOME": str(home),
        "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests")]),
        "OMP_NUM_THREADS": "1",
        "HF_HUB_OFFLINE": "1",
        "MARIMO_SKIP_UPDATE_CHECK": "1",
    }
    command = [
        sys.executable,
        "-m",
        "marimo",
        "run",
        str(path),
        "--headless",
        "--no-token",
        "-p",
        str(port),
    ]
    context = browser.new_context(viewport={"width": 1400, "height": 1000})
    page, errors = context.new_page(), []
    page.on("pageerror", lambda error: errors.append(f"{error.name}: {error.message}"))
    with (home / "log").open("w") as log:
        server = subprocess.Popen(command, env=environment, cwd=home, stdout=log, stderr=log)
        try:
            wait_for(f"http://127.0.0.1:{port}/health", server, home / "log")
            page.goto(f"http://127.0.0.1:{port}")
            yield page, errors
        finally:
            context.close()
            server.terminate()
            server.wait(120)  # however busy the machine is


def test_every_widget_is_shown_and_used_in_marimo(marimo_page):
    page, errors = marimo_page
    widgets = page.locator("section.gl")
    expect(widgets).to_have_count(len(public_widgets()), timeout=600_000)
    chat = widgets.nth(0)
    chat.get_by_label("Your prompt").fill("Write 47 in German words.")
    chat.get_by_label("Your prompt").press("Enter")
    expect(chat.get_by_text("siebenundvierzig").first).to_be_visible(timeout=60_000)
    attention = widgets.nth(1)
    expect(page.get_by_text("selected head 0").last).to_be_visible()
    attention.get_by_test_id("map").focus()
    page.keyboard.press("]")  # next head, as the widget's own key
    expect(page.get_by_text("selected head 1").last).to_be_visible()
    assert errors == []
    Path(ROOT / "build" / "screenshots").mkdir(parents=True, exist_ok=True)
    page.set_viewport_size({"width": 1400, "height": 8000})
    page.screenshot(path=str(ROOT / "build" / "screenshots" / "marimo.png"), full_page=True)

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
#: One cell per widget; the last one is run again whenever the attention explorer selects another head.
NOTEBOOK = """
import marimo

app = marimo.App(width="full")


@app.cell
def _():
    import marimo as mo
    import gemma_lab as gl

    lab = gl.load("mini-moe")
    trace = lab.trace("Write 47 in German words.", max_new_tokens=8, attention=True)
    return gl, lab, mo, trace


@app.cell
def _(gl, lab, mo):
    mo.ui.anywidget(gl.Chat(lab))
    return


@app.cell
def _(gl, mo, trace):
    mo.ui.anywidget(gl.RoutingExplorer(trace))
    return


@app.cell
def _(gl, mo, trace):
    explorer = gl.AttentionExplorer(trace)
    head, set_head = mo.state(explorer.head)
    explorer.observe(lambda change: set_head(change["new"]), "head")
    mo.ui.anywidget(explorer)
    return (head,)


@app.cell
def _(gl, mo, trace):
    mo.ui.anywidget(gl.Explorer(trace))
    return


@app.cell
def _(gl, mo):
    mo.ui.anywidget(gl.Planner())
    return


@app.cell
def _(gl, lab, mo):
    prompts = ["Write 47 in German words.", "Which is larger, 12 or 21?"]
    edit = gl.Edit(ablate_experts=range(20))
    compared = gl.versus(lab, edit, prompts, progress=False, max_new_tokens=5, rounds=0)
    mo.ui.anywidget(gl.VersusExplorer(compared))
    return


@app.cell
def _(gl, lab, mo):
    mo.ui.anywidget(gl.ScanExplorer(lab.scan("Write 47 in German words.", draws=19, progress=False)))
    return


@app.cell
def _(head, mo):
    mo.md(f"selected head {head()}")
    return


if __name__ == "__main__":
    app.run()
"""


@pytest.fixture(scope="module")
def marimo_page(
    tmp_path_factory: pytest.TempPathFactory, browser: Browser
) -> Iterator[tuple[Page, list[str]]]:
    """Serve the notebook with marimo and open it; yield the page and the errors it logged."""
    home = tmp_path_factory.mktemp("marimo")
    notebook = home / "widgets.py"
    notebook.write_text(NOTEBOOK)
    port = free_port()
    environment = {
        **os.environ,
        "HOME": str(home),
        "PYTHONPATH": str(ROOT),
        "OMP_NUM_THREADS": "1",
        "HF_HUB_OFFLINE": "1",
        "MARIMO_SKIP_UPDATE_CHECK": "1",
    }
    command = [
        sys.executable,
        "-m",
        "marimo",
        "run",
        str(notebook),
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
            server.wait(15)


def test_every_widget_is_shown_and_used_in_marimo(marimo_page):
    page, errors = marimo_page
    shown = {name for name in public_widgets() if f"gl.{name}(" in NOTEBOOK}
    assert shown == public_widgets()
    widgets = page.locator("section.gl")
    expect(widgets).to_have_count(len(shown), timeout=240_000)
    chat = widgets.nth(0)
    chat.get_by_label("Your prompt").fill("Write 47 in German words.")
    chat.get_by_label("Your prompt").press("Enter")
    expect(chat.get_by_text("siebenundvierzig").first).to_be_visible(timeout=60_000)
    attention = widgets.nth(2)
    expect(page.get_by_text("selected head 0").last).to_be_visible()
    attention.get_by_test_id("map").focus()
    page.keyboard.press("]")  # next head, as the widget's own key
    expect(page.get_by_text("selected head 1").last).to_be_visible()
    assert errors == []
    Path(ROOT / "build" / "screenshots").mkdir(parents=True, exist_ok=True)
    page.screenshot(path=str(ROOT / "build" / "screenshots" / "marimo.png"), full_page=True)

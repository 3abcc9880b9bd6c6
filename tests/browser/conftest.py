"""A real JupyterLab and a real Chromium: what a person would open, without their configuration or network."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import nbformat
import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright
from support.servers import free_port, wait_for

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

expect.set_options(timeout=30_000)  # milliseconds: JupyterLab and the model share two cores

ROOT = Path(__file__).parents[2]
SHOTS = ROOT / "build" / "screenshots"
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
#: What JupyterLab itself says on a machine without a network, and no message of this kit.
FOREIGN_ERRORS = ("api/kernels", "jupyterlab-news", "/lsp/", "favicon")

KERNEL_READY = """() => {
  const session = window.jupyterapp?.shell.currentWidget?.sessionContext;
  const kernel = session?.session?.kernel;
  return session?.isReady && kernel?.connectionStatus === "connected" && kernel.status === "idle";
}"""


def chromium() -> str:
    """Return the browser's path, or fail saying how to get one: a test that is skipped proves nothing."""
    given = os.environ.get("GEMMA_LAB_CHROMIUM")
    if given and Path(given).is_file():
        return given
    for name in ("chromium", "chromium-browser", "google-chrome"):
        if found := shutil.which(name):
            return found
    pytest.fail(
        "No Chromium was found. Install one (apt-get install chromium), or point to it: "
        "GEMMA_LAB_CHROMIUM=/path/to/chrome",
        pytrace=False,
    )


@pytest.fixture(scope="session")
def lab_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """Start JupyterLab in an empty folder; yield its address and the folder."""
    home = tmp_path_factory.mktemp("jupyter")
    work = home / "work"
    work.mkdir()
    settings = home / "settings" / "@jupyterlab" / "apputils-extension"
    settings.mkdir(parents=True)
    (settings / "notification.jupyterlab-settings").write_text(
        '{"fetchNews": "false", "checkForUpdates": false}'
    )
    environment = {
        **os.environ,
        "HOME": str(home),
        "IPYTHONDIR": str(home / "ipython"),
        "JUPYTER_CONFIG_DIR": str(home / "config"),
        "JUPYTER_DATA_DIR": str(home / "data"),
        "JUPYTER_RUNTIME_DIR": str(home / "runtime"),
        "JUPYTERLAB_SETTINGS_DIR": str(home / "settings"),
        "JUPYTERLAB_WORKSPACES_DIR": str(home / "workspaces"),
        "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests")]),
        "OMP_NUM_THREADS": "1",
        "HF_HUB_OFFLINE": "1",
        "GEMMA_LAB_STATIC": "",
    }
    port = free_port()
    address = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", f"--port={port}"]
    command += ["--IdentityProvider.token=", "--ServerApp.password=", f"--ServerApp.root_dir={work}"]
    command += ["--ServerApp.disable_check_xsrf=True", "--LabApp.expose_app_in_browser=True"]
    with (home / "jupyter.log").open("w") as log:
        server = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
        try:
            wait_for(f"{address}/api", server, home / "jupyter.log")
            yield address, work
        finally:
            server.terminate()
            server.wait(120)  # however busy the machine is


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """One Chromium for all tests."""
    path = chromium()
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=path, args=FLAGS)
        yield running
        running.close()


class Notebook:
    """An open notebook, with what it logged."""

    def __init__(self, page: Page, errors: list[str], dialogs: list[str]) -> None:
        self.page, self.errors, self.dialogs = page, errors, dialogs

    def run_all(self) -> None:
        """Run every cell; what they show is waited for by whoever expects it."""
        self.page.evaluate("void window.jupyterapp.commands.execute('notebook:run-all-cells')")

    def run(self, cell: int) -> None:
        """Run one cell."""
        self.page.evaluate(
            """cell => {
              window.jupyterapp.shell.currentWidget.content.activeCellIndex = cell;
              void window.jupyterapp.commands.execute("notebook:run-cell");
            }""",
            cell,
        )

    def shot(self, name: str, what: Any = None) -> Path:
        """Keep a picture of the page, or of one element, under build/screenshots."""
        SHOTS.mkdir(parents=True, exist_ok=True)
        path = SHOTS / f"{name}.png"
        (what or self.page).screenshot(path=str(path))
        return path

    def theme(self, name: str) -> None:
        """Set JupyterLab's theme and wait for it."""
        light = str(name == "JupyterLab Light").lower()
        self.page.evaluate(
            "name => window.jupyterapp.commands.execute('apputils:change-theme', {theme: name})", name
        )
        expect(self.page.locator(f"body[data-jp-theme-light={light}]")).to_be_attached()
        # a splash lies over the page while the theme changes, and takes the clicks until it has faded
        expect(self.page.locator("#jupyterlab-splash")).to_have_count(0)

    def check_quiet(self) -> None:
        """Fail if the page logged an error or opened a dialog."""
        assert self.errors == []
        assert self.dialogs == []


@pytest.fixture
def open_notebook(lab_server: tuple[str, Path], browser: Browser) -> Iterator[Callable[..., Notebook]]:
    """Write a notebook of the given cells into JupyterLab's folder, open it and return it."""
    address, work = lab_server
    contexts = []

    def opened(*cells: str, width: int = 1280, height: int = 900) -> Notebook:
        name = f"n{time.time_ns()}.ipynb"
        sheet = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
        sheet.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
        (work / name).write_text(json.dumps(sheet))
        context = browser.new_context(viewport={"width": width, "height": height}, device_scale_factor=2)
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(20_000)
        errors: list[str] = []
        dialogs: list[str] = []
        page.on("pageerror", lambda error: errors.append(f"{error.name}: {error.message}"))

        def hear(message: Any) -> None:
            where = message.location.get("url", "")
            if message.type == "error" and not any(part in where + message.text for part in FOREIGN_ERRORS):
                errors.append(f"{message.text} ({where})")

        page.on("console", hear)
        page.on("dialog", lambda dialog: (dialogs.append(dialog.message), dialog.dismiss()))
        # A workspace of its own, or JupyterLab would open the notebooks of earlier tests too.
        page.goto(f"{address}/lab/workspaces/{name.removesuffix('.ipynb')}/tree/{name}")
        expect(page.locator(".jp-Notebook .jp-Cell").first).to_be_visible(timeout=60_000)
        page.wait_for_function(KERNEL_READY, timeout=60_000)
        book = Notebook(page, errors, dialogs)
        book.theme("JupyterLab Light")  # the server remembers what the test before chose
        return book

    yield opened
    for context in contexts:
        context.close()

"""Badges and install cells come from one address, and every notebook is in step with it."""

from __future__ import annotations

import sys
from types import ModuleType

import nbformat
import pytest

import gemma_lab
from gemma_lab.errors import LabError
from tools.notebooks import form
from tools.notebooks.checkout import Checkout, checkout
from tools.notebooks.links import badges, install_source, linked, write_links

TAG = f"v{gemma_lab.__version__}"


def place(folder, repository="https://github.com/someone/fork"):
    return Checkout(folder=folder, repository=repository)


def make(folder):
    (folder / "notebooks").mkdir()
    path = folder / "notebooks" / "00_a.ipynb"
    cells = [
        nbformat.v4.new_markdown_cell("# Title", id="title"),
        nbformat.v4.new_code_cell("1", id="one", execution_count=1),
    ]
    path.write_text(form.dumps(nbformat.v4.new_notebook(cells=cells)))
    return path


def test_badges_point_at_the_released_notebook(tmp_path):
    text = badges(place(tmp_path), "00_a.ipynb")
    assert f"colab.research.google.com/github/someone/fork/blob/{TAG}/notebooks/00_a.ipynb" in text
    assert f"mybinder.org/v2/gh/someone/fork/{TAG}?urlpath=lab/tree/notebooks/00_a.ipynb" in text


def test_writing_twice_changes_nothing_more_and_a_new_address_replaces_the_old(tmp_path):
    path = make(tmp_path)
    assert write_links(place(tmp_path)) == [path]
    assert write_links(place(tmp_path)) == []
    assert write_links(place(tmp_path, "https://github.com/another/home")) == [path]
    text = path.read_text()
    assert "someone" not in text
    assert [cell["id"] for cell in form.read(path).cells] == ["title", "badges", "install", "one"]


def test_the_committed_notebooks_are_in_step():
    real = checkout()
    assert real.notebooks
    stale = [
        path.name
        for path in real.notebooks
        if form.dumps(linked(form.read(path), real, name=path.name)) != path.read_text(encoding="utf-8")
    ]
    assert not stale, f"run `python -m tools.notebooks links`: {stale}"


@pytest.mark.parametrize(
    ("colab", "present", "installs"), [(True, False, True), (True, True, False), (False, False, False)]
)
def test_the_install_cell_acts_on_colab_only(tmp_path, monkeypatch, colab, present, installs):
    from IPython.core.inputtransformer2 import TransformerManager

    if colab:
        monkeypatch.setitem(sys.modules, "google.colab", ModuleType("google.colab"))
    monkeypatch.setattr("importlib.util.find_spec", lambda name: object() if present else None)
    lines = []

    class Shell:
        def run_line_magic(self, name, line):
            lines.append((name, line))

    source = TransformerManager().transform_cell(install_source(place(tmp_path)))
    exec(source, {"get_ipython": Shell})
    wanted = [("pip", f'install -q "gemma_lab[models] @ git+https://github.com/someone/fork@{TAG}"')]
    assert lines == (wanted if installs else [])


def test_an_address_that_colab_cannot_open_is_refused(tmp_path):
    with pytest.raises(LabError, match="GitHub"):
        badges(place(tmp_path, "https://example.org/x"), "00_a.ipynb")


def test_outside_a_checkout_the_error_says_so(tmp_path):
    with pytest.raises(LabError, match="not a checkout"):
        checkout(tmp_path)

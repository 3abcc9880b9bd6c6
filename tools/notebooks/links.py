"""Badges and the install cell: the same in every notebook, written from the repository's one address."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import nbformat

from . import form

if TYPE_CHECKING:
    from pathlib import Path

    from .checkout import Checkout

BADGES_ID = "badges"
INSTALL_ID = "install"
_COLAB_PICTURE = "https://colab.research.google.com/assets/colab-badge.svg"
_BINDER_PICTURE = "https://mybinder.org/badge_logo.svg"


def badges(project: Checkout, notebook: str) -> str:
    """Return the Markdown of the badges that open one notebook, e.g. ``"00_start_here.ipynb"``."""
    colab = f"https://colab.research.google.com/github/{project.slug}/blob/{project.tag}/notebooks/{notebook}"
    binder = f"https://mybinder.org/v2/gh/{project.slug}/{project.tag}?urlpath=lab/tree/notebooks/{notebook}"
    return f"[![Open in Colab]({_COLAB_PICTURE})]({colab})\n[![Open in Binder]({_BINDER_PICTURE})]({binder})"


def install_source(project: Checkout) -> str:
    """Return the code of the install cell, which acts on Colab only."""
    return (
        "# On Colab this installs gemma_lab; anywhere else it does nothing.\n"
        "import importlib.util\n"
        "import sys\n"
        "\n"
        'if "google.colab" in sys.modules and importlib.util.find_spec("gemma_lab") is None:\n'
        f'    %pip install -q "gemma_lab[models] @ git+{project.repository}@{project.tag}"'
    )


def linked(notebook: nbformat.NotebookNode, project: Checkout, *, name: str) -> nbformat.NotebookNode:
    """Return a copy whose second and third cell are the badges and the install cell."""
    rest = [cell for cell in notebook.cells if cell.get("id") not in (BADGES_ID, INSTALL_ID)]
    before = {cell.get("id"): cell for cell in notebook.cells}
    install: dict[str, Any] = {
        "id": INSTALL_ID,
        "cell_type": "code",
        "metadata": {"tags": ["install"]},
        "source": install_source(project),
        # It prints nothing where notebooks are executed: a new address needs no new execution.
        "execution_count": before.get(INSTALL_ID, {}).get("execution_count"),
        "outputs": [],
    }
    pictures = {"id": BADGES_ID, "cell_type": "markdown", "metadata": {}, "source": badges(project, name)}
    result = nbformat.from_dict({**notebook, "cells": [*rest[:1], pictures, install, *rest[1:]]})
    return form.normal(result, name=name)


def write_links(project: Checkout) -> list[Path]:
    """Write badges and install cell into every notebook; return the files that changed."""
    changed = []
    for path in project.notebooks:
        text = form.dumps(linked(form.read(path), project, name=path.name))
        if text != path.read_text(encoding="utf-8"):
            path.write_text(text, encoding="utf-8")
            changed.append(path)
    return changed

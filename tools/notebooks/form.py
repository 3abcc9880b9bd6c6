"""The one form that a committed notebook has, so that two executions of the same code give the same bytes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import nbformat

from gemma_lab.errors import LabError

if TYPE_CHECKING:
    from pathlib import Path

#: A committed notebook is read by people and by diffs: bytes.
MAX_BYTES = 300_000
WIDGET_VIEW = "application/vnd.jupyter.widget-view+json"
_KERNEL = {"display_name": "Python 3", "language": "python", "name": "python3"}
_LANGUAGE = {
    "file_extension": ".py",
    "mimetype": "text/x-python",
    "name": "python",
    "pygments_lexer": "ipython3",
}
# Colab reads these to choose a GPU; everything else at the top is some editor's state.
_KEPT = ("accelerator", "colab")


def read(path: Path) -> nbformat.NotebookNode:
    """Read a notebook as it is, without upgrading it or inventing cell ids."""
    return nbformat.from_dict(nbformat.reader.reads(path.read_text(encoding="utf-8")))


def dumps(notebook: nbformat.NotebookNode) -> str:
    """Return the text of a notebook's file: keys sorted, one final newline."""
    text: str = nbformat.writes(notebook, version=4)
    return text.rstrip("\n") + "\n"


def normal(notebook: nbformat.NotebookNode, *, name: str) -> nbformat.NotebookNode:
    """Return a copy in the committed form.

    Execution counts run from 1, cell metadata keeps only tags, streams that follow each other are joined, and
    nothing is left of widgets' state, timings or the machine's Python version.

    Parameters
    ----------
    notebook
        Format 4, executed or not.
    name
        What errors call it.

    Raises
    ------
    LabError
        If a cell's output is an error or a live widget, or if the file would be larger than `MAX_BYTES`.
    """
    cells, count = [], 0
    for index, cell in enumerate(notebook.cells):
        kept: dict[str, Any] = {
            "id": cell.get("id") or f"cell-{index:02d}",
            "cell_type": cell.cell_type,
            "metadata": {"tags": sorted(cell.metadata["tags"])} if cell.metadata.get("tags") else {},
            "source": cell.source.strip("\n"),
        }
        if cell.cell_type == "code":
            executed = cell.get("execution_count") is not None
            count += executed
            kept["execution_count"] = count if executed else None
            kept["outputs"] = [
                _output(output, count, f"{name}, cell {index}") for output in _joined(cell.outputs)
            ]
        cells.append(kept)
    metadata = {key: notebook.metadata[key] for key in _KEPT if key in notebook.metadata}
    result = nbformat.from_dict(
        {
            "cells": cells,
            "metadata": {**metadata, "kernelspec": _KERNEL, "language_info": _LANGUAGE},
            "nbformat": 4,
            "nbformat_minor": 5,
        }
    )
    nbformat.validate(result)
    size = len(dumps(result).encode())
    if size > MAX_BYTES:
        raise LabError(
            f"{name} would be {size:,} bytes; a committed notebook has at most {MAX_BYTES:,}.",
            hint="Draw fewer or smaller figures (dpi, figsize), or print less.",
        )
    return result


def _joined(outputs: list[Any]) -> list[Any]:
    """Join neighbouring pieces of one stream: where the kernel cuts them depends on the moment."""
    joined: list[Any] = []
    for output in outputs:
        same = joined and output.output_type == "stream" and joined[-1].get("name") == output.name
        if same:
            joined[-1]["text"] += output.text
        else:
            joined.append(nbformat.from_dict(dict(output)))
    return joined


def _output(output: Any, count: int, where: str) -> Any:
    if output.output_type == "error":
        raise LabError(
            f"{where} ended in {output.ename}: {output.evalue}",
            hint="Notebooks are committed without errors; to show one, catch it and print it.",
        )
    if WIDGET_VIEW in output.get("data", {}):
        raise LabError(
            f"{where} shows a live widget, which is blank in a saved notebook.",
            hint="Notebooks are executed with GEMMA_LAB_STATIC=1, which selects the static fallback.",
        )
    if output.output_type == "execute_result":
        output["execution_count"] = count
    return output

"""A notebook is run from start to end in this Python, offline, with its memory measured."""

from __future__ import annotations

import json
import os
import sys

import nbformat
import pytest

from tools.notebooks import form
from tools.notebooks.execute import execute

CELLS = [
    "import os, sys\nprint('first'); print('second')\nprint('aside', file=sys.stderr)",
    "os.environ['GEMMA_LAB_STATIC'], os.environ['HF_HUB_OFFLINE'], sys.executable",
    "import matplotlib.pyplot as plt\n_ = plt.figure(figsize=(1, 1)).subplots().plot([1, 2])",
]


def notebook(*sources: str, **metadata: object) -> nbformat.NotebookNode:
    cells = [nbformat.v4.new_markdown_cell("# Title", id="title")]
    cells += [nbformat.v4.new_code_cell(source, id=f"code-{i}") for i, source in enumerate(sources)]
    return nbformat.v4.new_notebook(cells=cells, metadata=metadata)


@pytest.fixture
def small(tmp_path):
    path = tmp_path / "99_small.ipynb"
    path.write_text(form.dumps(notebook(*CELLS, widgets={"left": "over"})), encoding="utf-8")
    return path


def test_two_executions_give_the_same_bytes_and_leave_the_file_alone(small):
    before = small.read_bytes()
    texts = {form.dumps(execute(small).notebook) for _ in range(2)}
    assert len(texts) == 1
    assert small.read_bytes() == before
    saved = json.loads(texts.pop())
    code = [cell for cell in saved["cells"] if cell["cell_type"] == "code"]
    assert [cell["execution_count"] for cell in code] == [1, 2, 3]
    assert code[0]["outputs"][0]["text"] == ["first\n", "second\n"]
    # This Python ran it, in static mode and offline, whatever kernels the user has installed.
    assert eval("".join(code[1]["outputs"][0]["data"]["text/plain"])) == ("1", "1", sys.executable)
    assert "image/png" in code[2]["outputs"][0]["data"]
    assert set(saved["metadata"]) == {"kernelspec", "language_info"}
    assert all(set(cell["metadata"]) <= {"tags"} for cell in saved["cells"])


def test_static_mode_is_off_in_a_live_execution(tmp_path, monkeypatch):
    monkeypatch.setenv("GEMMA_LAB_STATIC", "1")
    path = tmp_path / "live.ipynb"
    path.write_text(form.dumps(notebook("import os\nprint(os.environ.get('GEMMA_LAB_STATIC'))")))
    assert execute(path, static=False).notebook.cells[1].outputs[0].text == "None\n"
    assert os.environ["GEMMA_LAB_STATIC"] == "1"


def test_memory_is_measured_at_its_peak(tmp_path):
    path = tmp_path / "hungry.ipynb"
    path.write_text(form.dumps(notebook("block = bytearray(400_000_000)\ndel block", "print('small again')")))
    assert 400e6 < execute(path).usage.peak_bytes < 900e6


def test_a_cell_that_raises_stops_the_execution(tmp_path):
    from nbclient.exceptions import CellExecutionError

    path = tmp_path / "broken.ipynb"
    path.write_text(form.dumps(notebook("1 / 0")))
    with pytest.raises(CellExecutionError, match="ZeroDivisionError"):
        execute(path)

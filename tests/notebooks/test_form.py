"""One form for every committed notebook; two executions give the same bytes."""

from __future__ import annotations

import json
import os
import sys

import nbformat
import pytest

from gemma_lab.errors import LabError
from gemma_lab.notebooks import form
from gemma_lab.notebooks.execute import execute

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
    assert 400e6 < execute(path).peak_bytes < 900e6


def test_a_cell_that_raises_stops_the_execution(tmp_path):
    from nbclient.exceptions import CellExecutionError

    path = tmp_path / "broken.ipynb"
    path.write_text(form.dumps(notebook("1 / 0")))
    with pytest.raises(CellExecutionError, match="ZeroDivisionError"):
        execute(path)


def executed(*outputs: nbformat.NotebookNode) -> nbformat.NotebookNode:
    result = notebook("pass")
    result.cells[1].execution_count = 7
    result.cells[1].outputs = list(outputs)
    return result


def test_error_outputs_are_refused():
    shown = executed(nbformat.v4.new_output("error", ename="ValueError", evalue="no", traceback=[]))
    with pytest.raises(LabError, match=r"x\.ipynb, cell 1 ended in ValueError: no"):
        form.normal(shown, name="x.ipynb")


def test_live_widgets_are_refused():
    view = {form.WIDGET_VIEW: {"model_id": "0"}, "text/plain": "Chat"}
    with pytest.raises(LabError, match="live widget"):
        form.normal(executed(nbformat.v4.new_output("display_data", data=view)), name="x.ipynb")


def test_a_notebook_that_is_too_large_is_refused():
    text = nbformat.v4.new_output("stream", text="x" * form.MAX_BYTES)
    with pytest.raises(LabError, match="at most 300,000"):
        form.normal(executed(text), name="x.ipynb")


def test_normal_is_idempotent_and_renumbers():
    stream = [nbformat.v4.new_output("stream", text=text) for text in ("a", "b")]
    once = form.normal(executed(*stream), name="x.ipynb")
    assert once.cells[1].execution_count == 1
    assert [output.text for output in once.cells[1].outputs] == ["ab"]
    assert form.dumps(form.normal(once, name="x.ipynb")) == form.dumps(once)

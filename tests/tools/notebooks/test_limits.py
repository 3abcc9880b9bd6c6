"""A notebook that takes more than its limits fails, though every output is right."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

from tools.notebooks import form

CONFTEST = Path(__file__).parents[3] / "conftest.py"
SHARED = """
import importlib.util

spec = importlib.util.spec_from_file_location("shared", {path!r})
shared = importlib.util.module_from_spec(spec)
spec.loader.exec_module(shared)
shared.{limit}
globals().update({{name: getattr(shared, name) for name in dir(shared) if name.startswith("pytest_")}})
"""


@pytest.mark.parametrize(
    ("limit", "status", "message"),
    [
        ("MAX_BYTES", 0, "hungry.ipynb: peak 0."),
        ("MAX_BYTES = 10e6", 1, "at most 0.0 GB"),
        ("MAX_PROCESSOR_SECONDS = 0.01", 1, "at most 0.01 s"),
    ],
)
def test_memory_and_processor_time_are_limited(tmp_path, limit, status, message):
    cells = [nbformat.v4.new_code_cell(code) for code in ("block = 1", "block += 1")]
    notebook = nbformat.v4.new_notebook(cells=cells)
    (tmp_path / "hungry.ipynb").write_text(form.dumps(notebook))
    (tmp_path / "conftest.py").write_text(SHARED.format(path=str(CONFTEST), limit=limit))
    command = [sys.executable, "-m", "pytest", "-p", "no:python", "-p", "no:cacheprovider", "--nbval"]
    done = subprocess.run(
        [*command, "--nbval-current-env", "--rootdir", tmp_path, tmp_path / "hungry.ipynb"],
        capture_output=True, text=True, check=False, cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == status, done.stdout
    assert message in done.stdout

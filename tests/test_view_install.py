"""An install without the extra `models`: traces and the planner work, the rest says what is missing.

Here the packages of `models` are hidden from a second interpreter; the session ``view`` of ``noxfile.py``
runs the same script in an environment where they are not installed.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parent / "support" / "view_install.py"


@pytest.fixture(scope="module")
def report() -> dict[str, object]:
    done = subprocess.run(
        [sys.executable, str(SCRIPT), "--hide"], check=False, capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return dict(json.loads(done.stdout.splitlines()[-1]))


def test_no_model_library_is_imported(report):
    assert report["loaded"] == []


def test_every_explorer_of_a_saved_trace_is_built_and_saved(report):
    assert report["explorers"] == ["AttentionExplorer", "Explorer", "Planner", "RoutingExplorer"]
    assert all(size > 10_000 for size in report["pages"].values())


def test_a_trace_is_opened_analysed_and_saved_as_with_torch(report):
    assert report["tokens"] == 131_022
    assert report["saved_equal"] is True
    assert report["plan_bytes"] > 10**9


def test_what_runs_a_model_names_the_extra(report):
    assert report["missing"], "some names need a model"
    for name, message in report["missing"].items():
        assert "gemma_lab[models]" in message, name
    assert "load" in report["missing"]

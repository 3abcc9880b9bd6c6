"""A saved trace is read and analysed without torch and without transformers."""

from __future__ import annotations

import pkgutil
import subprocess
import sys

import pytest

import gemma_lab.analysis
from gemma_lab.models import tokens
from gemma_lab.trace import records, storage

LIGHT = ["gemma_lab.trace.trace"] + [
    module.name
    for package in (records, storage, tokens)
    for module in pkgutil.iter_modules(package.__path__, f"{package.__name__}.")
]
ANALYSIS = [
    module.name
    for module in pkgutil.walk_packages(gemma_lab.analysis.__path__, "gemma_lab.analysis.")
    if not module.ispkg
]


def imported_by(*names: str) -> set[str]:
    """What a fresh interpreter has imported after these."""
    program = f"import {', '.join(names)}, sys; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())


@pytest.mark.parametrize("name", LIGHT)
def test_each_module_of_a_saved_trace_stays_light(name):
    assert not imported_by(name) & {"torch", "transformers", "matplotlib"}


def test_the_analysis_stays_light():
    assert len(ANALYSIS) > 8
    found = imported_by(*ANALYSIS)
    assert set(ANALYSIS) <= found
    assert not found & {"torch", "transformers", "matplotlib", "pandas"}


def test_the_check_can_fail():
    assert "torch" in imported_by("gemma_lab.trace.interventions.apply")


def test_the_public_names_of_traces_stay_light():
    program = (
        "import sys, gemma_lab as gl; gl.Trace, gl.open_trace, gl.Edit, gl.compare; "
        "sys.exit(bool({'torch', 'transformers'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0

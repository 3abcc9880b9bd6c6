"""`import gemma_lab` is light, and what it promises is there."""

from __future__ import annotations

import inspect
import subprocess
import sys

import pytest

import gemma_lab

_HEAVY = ("torch", "transformers", "matplotlib", "plotly", "ipywidgets", "anywidget", "numpy", "PIL")


def _python(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout


def test_import_takes_less_than_300_ms():
    code = "import time; t = time.perf_counter(); import gemma_lab; print(time.perf_counter() - t)"
    assert min(float(_python(code)) for _ in range(5)) < 0.3  # the least: other work on the machine only adds


@pytest.mark.parametrize("statement", ["import gemma_lab", "import gemma_lab; gemma_lab.LabError"])
def test_import_loads_nothing_heavy(statement):
    loaded = _python(f"import sys; {statement}; print(*sys.modules)").split()
    assert not set(_HEAVY) & set(loaded)


def test_the_catalog_needs_no_torch():
    loaded = _python(
        "import sys; import gemma_lab as gl; gl.catalog(); gl.published(); print(*sys.modules)"
    ).split()
    assert not {"torch", "transformers", "matplotlib", "ipywidgets"} & set(loaded)


@pytest.mark.parametrize("name", sorted(set(gemma_lab.__all__) - {"__version__"}))
def test_public_name_resolves_and_is_documented(name):
    value = getattr(gemma_lab, name)
    assert value.__module__.startswith("gemma_lab.")
    assert len(inspect.getdoc(value) or "") > 20
    assert name in dir(gemma_lab)


def test_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        gemma_lab.nothing  # noqa: B018

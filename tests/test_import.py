"""`import gemma_lab` is light, and every public name exists, is documented, and has one meaning."""

from __future__ import annotations

import ast
import importlib
import inspect
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import pytest

_HEAVY = ("torch", "transformers", "matplotlib", "plotly", "ipywidgets", "anywidget", "numpy", "PIL")
_NAMESPACES = ("gemma_lab", *(f"gemma_lab.{name}" for name in ("analysis", "evals", "family", "plots")))
_PUBLIC = [
    (namespace, name)
    for namespace in _NAMESPACES
    for name in importlib.import_module(namespace).__all__
    if name != "__version__"
]


def _python(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout


@pytest.mark.parametrize(
    "statement",
    [
        "import gemma_lab",
        "import gemma_lab; gemma_lab.LabError",
        "from gemma_lab import analysis, evals, plots",
    ],
)
def test_import_loads_nothing_heavy(statement):
    loaded = _python(f"import sys; {statement}; print(*sys.modules)").split()
    assert not set(_HEAVY) & set(loaded)


def test_the_catalog_and_the_analyses_need_no_torch():
    loaded = _python(
        "import sys; import gemma_lab as gl; gl.catalog(); gl.published(); gl.family.kv_caches();"
        "[getattr(gl.analysis, name) for name in gl.analysis.__all__]; print(*sys.modules)"
    ).split()
    assert not {"torch", "transformers", "matplotlib", "ipywidgets"} & set(loaded)


@pytest.mark.parametrize(("namespace", "name"), _PUBLIC)
def test_public_name_resolves_and_is_documented(namespace, name):
    module = importlib.import_module(namespace)
    value = getattr(module, name)
    assert name in dir(module)
    if callable(value) or inspect.ismodule(value):
        assert len(inspect.getdoc(value) or "") > 20
        assert "no attribute" not in (inspect.getdoc(value) or "")
    if inspect.isfunction(value) or inspect.isclass(value):
        assert value.__module__.startswith("gemma_lab.")
        assert value.__name__ == name


@pytest.mark.parametrize("namespace", _NAMESPACES)
def test_the_imports_that_type_checkers_read_are_the_listed_names(namespace):
    module = importlib.import_module(namespace)
    blocks = [
        node for node in ast.parse(Path(module.__file__).read_text("utf-8")).body if isinstance(node, ast.If)
    ]
    names = [alias.name for block in blocks for node in block.body for alias in node.names]
    assert sorted(names) == sorted(set(module.__all__) - {"__version__"})
    assert list(module.__all__) == sorted(module.__all__, key=lambda name: (not name.isupper(), name))


def test_no_two_public_names_mean_different_things():
    values = defaultdict(set)
    for namespace, name in _PUBLIC:
        values[name].add(id(getattr(importlib.import_module(namespace), name)))
    assert not [name for name, meanings in values.items() if len(meanings) > 1]


def test_no_public_name_is_hidden_by_a_module_of_the_same_name():
    for namespace in _NAMESPACES[1:]:
        folder = Path(importlib.import_module(namespace).__file__).parent
        if folder.name == namespace.rpartition(".")[2]:
            modules = {path.stem for path in folder.iterdir()}
            assert not modules & set(importlib.import_module(namespace).__all__)


def test_unknown_name_is_an_attribute_error():
    for namespace in _NAMESPACES:
        with pytest.raises(AttributeError, match="nothing"):
            importlib.import_module(namespace).nothing  # noqa: B018


def test_a_misspelt_name_is_told_the_nearest_one():
    with pytest.raises(AttributeError, match="'RoutingExplorer'"):
        importlib.import_module("gemma_lab").RoutingExplorr  # noqa: B018
    with pytest.raises(AttributeError, match="'expert_load'"):
        importlib.import_module("gemma_lab.analysis").expert_loads  # noqa: B018

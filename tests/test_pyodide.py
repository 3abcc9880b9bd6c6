"""JupyterLite: the install without a model in Pyodide, Python compiled to WebAssembly, run by Node.js.

npm's Pyodide is Python alone. It imports the package and plans; a trace needs numpy and pyarrow compiled to
WebAssembly, which are in Pyodide's full distribution: ``GEMMA_LAB_PYODIDE=FOLDER`` runs that part, too.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import os
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import gemma_lab as gl

ROOT = Path(__file__).parents[1]
PYODIDE = ROOT / "node_modules" / "pyodide"
SCRIPT = ROOT / "tests" / "support" / "pyodide_view.mjs"
FULL = os.environ.get("GEMMA_LAB_PYODIDE", "")
#: Compiled where pip finds a wheel for the machine; the index has a wheel in pure Python beside those.
PURE_WHEEL_TOO = {"psygnal"}

pytestmark = pytest.mark.skipif(
    not PYODIDE.is_dir(), reason="node_modules has no Pyodide: `make js` or `npm ci` brings it"
)


def lock() -> dict[str, object]:
    return dict(json.loads((PYODIDE / "pyodide-lock.json").read_text("utf-8")))


def resolved() -> dict[str, str]:
    """Return where Pyodide gets each requirement of an install without extras: a version, or ``"pure"``."""
    python = lock()["info"]["python"]
    environment = {
        "sys_platform": "emscripten", "platform_system": "Emscripten", "platform_machine": "wasm32",
        "os_name": "posix", "implementation_name": "cpython", "platform_python_implementation": "CPython",
        "python_version": python.rpartition(".")[0], "python_full_version": python,
        "implementation_version": python, "platform_release": "", "platform_version": "", "extra": "",
    }  # fmt: skip
    shipped = {canonicalize_name(name): one for name, one in lock()["packages"].items()}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    open_ones = [Requirement(line) for line in project["dependencies"]]
    found: dict[str, str] = {}
    while open_ones:
        requirement = open_ones.pop()
        name = canonicalize_name(requirement.name)
        if requirement.marker and not requirement.marker.evaluate(environment):
            continue
        if name in shipped:
            found[name] = shipped[name]["version"]
            assert requirement.specifier.contains(found[name]), f"{requirement}: Pyodide has {found[name]}"
        elif name not in found:
            installed = importlib.metadata.distribution(name)
            wheel = installed.read_text("WHEEL") or ""
            assert "-none-any" in wheel or name in PURE_WHEEL_TOO, f"{name} is compiled, not in Pyodide"
            found[name] = "pure"
            open_ones += [Requirement(line) for line in installed.requires or ()]
    return found


def test_every_requirement_is_in_pyodide_or_pure_python():
    found = resolved()
    assert {"numpy", "pyarrow", "pillow", "matplotlib", "regex", "msgspec", "markupsafe"} <= set(found)
    assert all(found[name] != "pure" for name in ("numpy", "pyarrow", "pillow", "regex", "msgspec"))
    assert {"anywidget", "ipywidgets", "psygnal", "typer"} <= {
        name for name in found if found[name] == "pure"
    }
    assert not {"psutil", "torch", "transformers"} & set(found)


def run(folder: Path) -> dict[str, object]:
    node = shutil.which("node")
    if node is None:
        pytest.fail("No node was found, which runs Pyodide.", pytrace=False)
    found = resolved()
    shipped = ",".join(name for name, where in found.items() if where != "pure")
    pure = [name.replace("-", "_") for name, where in found.items() if where == "pure"]
    specs = [importlib.util.find_spec(name) for name in pure]
    folders = [
        spec.submodule_search_locations[0] for spec in specs if spec and spec.submodule_search_locations
    ]
    command = [node, str(SCRIPT), shipped, str(ROOT), str(folder), *folders]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr[-3000:]
    return dict(json.loads(done.stdout.splitlines()[-1]))


def test_the_package_is_imported_and_the_planner_plans_in_pyodide():
    report = run(PYODIDE)
    assert (report["system"], report["machine"]) == ("emscripten", "wasm32")
    assert report["python"] == lock()["info"]["python"]
    assert report["imported"] == ["gemma_lab"]
    here = gl.plan("26B-A4B", hardware="RTX 3090", quantization="q4_0")
    assert report["plan_bytes"] == int(here.needed_bytes)
    assert report["fits"] == here.fits


@pytest.mark.skipif(not FULL, reason="GEMMA_LAB_PYODIDE names no folder of Pyodide's full distribution")
def test_traces_and_explorers_are_there_in_the_full_distribution():
    report = run(Path(FULL))["view"]
    assert report["tokens"] == 131_022
    assert report["saved_equal"] is True
    assert report["loaded"] == []
    assert report["explorers"] == ["AttentionExplorer", "Explorer", "Planner", "RoutingExplorer"]
    assert all(size > 10_000 for size in report["pages"].values())

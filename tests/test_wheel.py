"""What `pip install` from an address gives: the package and its minis, far from any checkout."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

from tools.notebooks.checkout import checkout

TOP = checkout().folder

LOAD_AND_ASK = """
import json, sys
from pathlib import Path
import gemma_lab as gl
from gemma_lab.assets import data_root
lab = gl.load("mini-moe", progress=False)
reply = lab.chat("Write 7 in English words.", temperature=0, max_new_tokens=8)
print(json.dumps({
    "package": str(Path(gl.__file__).resolve()),
    "data": str(data_root().resolve()),
    "path": [str(Path(entry).resolve()) for entry in sys.path],
    "tokens": len(reply.tokens),
    "parameters": sum(p.numel() for p in lab.model.parameters()),
}))
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    out = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", out, TOP]
    subprocess.run(command, check=True, capture_output=True, text=True)
    (built,) = out.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def python(wheel, tmp_path_factory):
    """The Python of a new environment: the wheel, and this one's libraries without the editable install."""
    home = tmp_path_factory.mktemp("clean")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", home], check=True)
    clean = home / "bin" / "python"
    purelib = Path(
        subprocess.run(
            [clean, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"],
            check=True,
            capture_output=True,
            text=True,
        ).stdout.strip()
    )
    pip = [sys.executable, "-m", "pip", "--python", clean, "install", "--no-deps", "--no-index", wheel]
    subprocess.run(pip, check=True, capture_output=True, text=True)
    # Appended to sys.path as a plain folder, so the .pth file of the editable install in it is not read.
    libraries = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
    (purelib / "libraries.pth").write_text("\n".join(sorted(libraries)) + "\n")
    return clean


def test_the_wheel_carries_what_the_manifest_lists_and_no_tests(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        listed = json.loads(archive.read("gemma_lab/_data/manifest.json"))["files"]
    assert "gemma_lab/py.typed" in names  # so that type checkers read the annotations
    shipped = [file["path"] for file in listed if file["path"].startswith(("minis/", "media/"))]
    assert any(path.startswith("minis/mini-moe/") for path in shipped)
    assert {f"gemma_lab/_data/{path}" for path in shipped} <= set(names)
    assert {name.split("/")[0].split("-")[0] for name in names} == {"gemma_lab"}
    assert any(name.endswith("widgets/js/chat/chat.js") for name in names)


def test_a_mini_answers_from_the_wheel_alone(python, tmp_path):
    quiet = {
        name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "GEMMA_LAB"))
    }
    done = subprocess.run(
        [python, "-c", LOAD_AND_ASK], cwd=tmp_path, env=quiet, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout.splitlines()[-1])
    assert str(TOP.resolve()) not in told["path"]
    assert Path(told["package"]).is_relative_to(python.parent.parent.resolve())
    assert Path(told["data"]) == Path(told["package"]).parent / "_data"
    assert told["parameters"] > 1e6
    assert told["tokens"] > 0

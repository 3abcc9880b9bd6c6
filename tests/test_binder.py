"""binder/ agrees with the package and holds no script that fails in silence."""

from __future__ import annotations

import os
import re
import subprocess
import tomllib

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from tools.notebooks.checkout import checkout

TOP = checkout().folder
BINDER = TOP / "binder"
PROJECT = tomllib.loads((TOP / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def lines():
    text = (BINDER / "requirements.txt").read_text(encoding="utf-8")
    return [line for line in text.splitlines() if line and not line.startswith("#")]


def test_pinned_versions_satisfy_the_package():
    models = PROJECT["optional-dependencies"]["models"]
    asked = {Requirement(text).name: Requirement(text).specifier for text in models}
    pins = dict(re.fullmatch(r"(\w+)==([\d.]+)\+cpu", line).groups() for line in lines() if "==" in line)
    assert set(pins) == {"torch", "torchvision"}, "CPU builds of both, or CUDA libraries fill the image"
    for name, version in pins.items():
        assert asked[name].contains(version), f"{name} {version} is below the package's {asked[name]}"


def test_the_package_itself_is_installed_with_an_extra_that_exists():
    extra = re.fullmatch(r"\.\[(\w+)\]", lines()[-1])
    assert extra[1] in PROJECT["optional-dependencies"]


def test_the_python_is_one_that_the_package_runs_on():
    version = re.fullmatch(r"python-(3\.\d+)\n", (BINDER / "runtime.txt").read_text())
    assert SpecifierSet(PROJECT["requires-python"]).contains(version[1])
    assert f"Programming Language :: Python :: {version[1]}" in PROJECT["classifiers"]


@pytest.mark.parametrize("name", ["postBuild", "start"])
def test_scripts_parse_and_can_run(name):
    script = BINDER / name
    assert os.access(script, os.X_OK)
    assert script.read_text().startswith("#!/usr/bin/env bash\n")
    subprocess.run(["bash", "-n", script], check=True)


def test_an_error_while_building_stops_the_build():
    assert "\nset -e\n" in (BINDER / "postBuild").read_text()


def test_start_runs_what_it_is_given_offline():
    shown = subprocess.run(
        [BINDER / "start", "bash", "-c", 'echo "$HF_HUB_OFFLINE $1"', "-", "two words"],
        check=True,
        capture_output=True,
        text=True,
    )
    assert shown.stdout == "1 two words\n"

"""Configurations are checked field by field, before a model is built and before memory is allocated."""

from __future__ import annotations

import copy
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from support import shapes

import gemma_lab as gl
from gemma_lab.assets import data_path
from gemma_lab.errors import BadCheckpoint, DoesNotFit
from gemma_lab.family.architecture import SIZES, configuration
from gemma_lab.family.catalog import find
from gemma_lab.models.loading.configuration import check_configuration, fields_with
from gemma_lab.models.loading.meta_model import build_meta_model


@pytest.mark.parametrize("size", SIZES)
def test_true_and_tiny_configurations_pass(size):
    check_configuration(configuration(size), Path())
    for config in (shapes.tiny_config(size), shapes.tiny_config(size).get_text_config()):
        check_configuration(config.to_dict(), Path())


@pytest.mark.parametrize("name", ["mini-moe", "mini-edge"])
def test_the_minis_pass(name):
    folder = data_path(str(find(name).path))
    check_configuration(json.loads((folder / "config.json").read_text()), folder)


def test_the_first_wrong_field_is_named_with_its_section_and_value():
    config = copy.deepcopy(configuration("26B-A4B"))
    config["text_config"]["rope_parameters"]["sliding_attention"]["rope_theta"] = -7
    with pytest.raises(BadCheckpoint) as caught:
        check_configuration(config, Path("here"))
    assert "text_config.rope_parameters.sliding_attention.rope_theta is -7" in caught.value.what
    assert "config.json" in caught.value.what


def test_fields_that_have_a_size():
    config = {"text_config": {"hidden_size": 64, "vocab_size": 512, "sliding_window": 16}}
    assert fields_with(config, {64})[:1] == ["text_config.hidden_size = 64"]
    assert "no head_dim" in fields_with(config, set())


def test_what_transformers_cannot_build_names_the_field():
    config = shapes.tiny_config("31B").to_dict()
    config["text_config"]["hidden_activation"] = "gelu_of_tomorrow"
    with pytest.raises(BadCheckpoint, match=r"text_config\.hidden_activation = 'gelu_of_tomorrow'"):
        build_meta_model(config, "Gemma4ForConditionalGeneration", name="x")


def _run(code: str, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False, timeout=300
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_huge_width_is_refused_before_memory_is_allocated(tiny_folder, tmp_path):
    resource = pytest.importorskip("resource")
    assert resource.RLIMIT_AS is not None
    folder = shutil.copytree(tiny_folder("26B-A4B"), tmp_path / "huge")
    config = json.loads((folder / "config.json").read_text())
    for field in ("hidden_size", "moe_intermediate_size", "vocab_size"):
        config["text_config"][field] = 10**9
    (folder / "config.json").write_text(json.dumps(config))
    code = """
import sys, gemma_lab as gl
try:
    gl.load(sys.argv[1], progress=False)
except gl.LabError as error:
    lines = open('/proc/self/status').read().splitlines()  # ru_maxrss counts the parent's memory, too
    print(type(error).__name__, [int(line.split()[1]) * 1024 for line in lines if 'VmHWM' in line][0])
"""
    name, peak = _run(code, str(folder)).split()
    assert name == "BadCheckpoint"
    assert int(peak) < 2e9


def test_an_allocation_that_fails_while_loading_does_not_fit(tiny_folder, monkeypatch):
    import transformers

    for error in (
        MemoryError(),
        RuntimeError("unable to mmap 9 bytes from file <a>: Cannot allocate memory (12)"),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"),
    ):

        def fail(*_, error=error, **__):
            raise error

        monkeypatch.setattr(transformers.PreTrainedModel, "from_pretrained", fail)
        with pytest.raises(DoesNotFit, match="MiB"):
            gl.load(tiny_folder("31B"), progress=False)


def test_loading_under_a_limit_on_address_space_is_refused_with_the_numbers(tiny_folder):
    pytest.importorskip("resource")
    code = """
import resource, sys, gemma_lab as gl, torch, transformers, psutil
gl.load(sys.argv[1], progress=False)  # all libraries are there
used = int(next(l.split()[1] for l in open("/proc/self/status") if l.startswith("VmSize:"))) * 1024
resource.setrlimit(resource.RLIMIT_AS, (used + 40 * 2**20, resource.RLIM_INFINITY))
try:
    gl.load(sys.argv[1], progress=False)
except gl.LabError as error:
    print(type(error).__name__)
"""
    assert _run(code, str(tiny_folder("26B-A4B"))).strip() == "DoesNotFit"

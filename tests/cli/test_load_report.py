"""``gemma-lab load-report``: the numbers of ``lab.bits()``, with or without loading."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

import gemma_lab as gl
from gemma_lab.cli.app import app


def _run(*arguments):
    return CliRunner().invoke(app, ["load-report", *map(str, arguments)])


def test_after_loading(tiny_folder):
    folder = tiny_folder("26B-A4B")
    result = _run(folder, "-q", "int4", "--dtype", "bfloat16", "--json")
    assert result.exit_code == 0
    found = json.loads(result.stdout)
    expected = gl.load(folder, quantization="int4", dtype="bfloat16").bits().to_dict()
    assert found == expected
    assert found["measured"]


def test_before_loading():
    result = _run("26b-a4b-it", "-q", "nf4", "--predict")
    assert result.exit_code == 0
    assert "nf4 left the experts in 16 bits" in result.stdout
    assert "15.3 bits a weight" in result.stdout


def test_a_grid(tiny_folder):
    result = _run(tiny_folder("31B"), "--qat")
    assert result.exit_code == 0
    assert "not on a Q4_0 grid" in result.stdout


@pytest.mark.parametrize(
    "arguments",
    [("-q", "int5"), ("--qat", "--predict"), ("--qat", "-q", "int4"), ("-q", "w4a16", "--predict")],
)
def test_wrong_options_are_one_message(arguments):
    result = _run("mini-moe", *arguments)
    assert result.exit_code == 1
    assert "→" in result.output
    assert "Traceback" not in result.output

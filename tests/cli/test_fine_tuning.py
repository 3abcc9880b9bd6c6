"""``gemma-lab fine-tune``: a file of examples in, a checked adapter out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from typer.testing import CliRunner

import gemma_lab as gl
from gemma_lab.cli.app import app
from gemma_lab.cli.fine_tuning import read_examples
from gemma_lab.errors import LabError


def _run(*arguments: Any) -> Any:
    return CliRunner().invoke(app, ["fine-tune", *map(str, arguments)])


def _file(folder: Path, *rows: Any) -> Path:
    path = folder / "examples.jsonl"
    path.write_text("\n".join(json.dumps(row) if not isinstance(row, str) else row for row in rows))
    return path


_ROWS = [{"prompt": "abc", "answer": "d"}, {"prompt": "bcd", "answer": "ef"}]


def test_a_file_of_examples_becomes_an_adapter(tiny_folder: Any, tmp_path: Path) -> None:
    Image.effect_noise((64, 64), 50).save(tmp_path / "noise.png")
    rows = [*_ROWS, {"prompt": "see", "answer": "it", "images": ["noise.png"]}]
    model, out = tiny_folder("26B-A4B"), tmp_path / "roman"
    options = ["--model", model, "--out", out, "--target", "experts", "--target", "vision", "--rank", 2]
    options += ["--learning-rate", "0.02", "--steps", 6, "--batch-size", 3, "--device", "cpu", "--per-expert"]
    done = _run(_file(tmp_path, *rows), *options)
    assert done.exit_code == 0, done.output
    assert "roman" in done.stdout
    assert "passed" in done.stdout
    lab = gl.load(model, device="cpu", dtype="float32", adapter=out)
    assert lab.adapters.active.targets == ("experts", "vision")
    assert len(lab.adapters.active.losses) == 6
    again = _run(_file(tmp_path, *rows), *options)
    assert again.exit_code == 1
    assert "resume" in again.stderr


@pytest.mark.parametrize(
    ("rows", "named"),
    [
        (["{"], "Line 1"),
        ([{"prompt": "a", "answer": "b"}, "[1]"], "Line 2"),
        ([], "no examples"),
        (["3"], "Line 1"),
    ],
)
def test_wrong_lines_are_named(tmp_path: Path, rows: list[Any], named: str) -> None:
    with pytest.raises(LabError, match=named):
        read_examples(_file(tmp_path, *rows))


def test_media_are_relative_to_the_file(tmp_path: Path) -> None:
    row = {"prompt": "a", "answer": "b", "images": ["x.png", "/y.png"], "audio": "s.wav"}
    (read,) = read_examples(_file(tmp_path, "", row, ""))
    assert read["images"] == [tmp_path / "x.png", Path("/y.png")]
    assert read["audio"] == tmp_path / "s.wav"


def test_errors_end_with_code_1_before_anything_is_loaded(tmp_path: Path) -> None:
    for options, named in (
        (["--target", "heads"], "heads"),
        (["--model", "e2b-it", "--target", "experts"], "experts"),
        (["--steps", "3", "--minutes", "1"], "steps"),
    ):
        done = _run(_file(tmp_path, *_ROWS), "--out", tmp_path / "out", *options)
        assert done.exit_code == 1
        assert named in done.stderr
    assert _run(tmp_path / "none.jsonl", "--out", tmp_path).exit_code == 1
    assert not (tmp_path / "out").exists()

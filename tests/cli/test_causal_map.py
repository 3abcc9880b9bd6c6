"""``gemma-lab causal-map``."""

from __future__ import annotations

from typing import Any

from PIL import Image
from typer.testing import CliRunner

import gemma_lab as gl
from gemma_lab.cli.app import app

CLEAN, CORRUPTED = "The code is 75. <b>Which?", "The code is 31. <b>Which?"


def _run(*arguments: Any) -> Any:
    return CliRunner().invoke(app, ["causal-map", *map(str, arguments)])


def test_a_map_is_printed_kept_and_shown_again(tiny_folder: Any, tmp_path: Any) -> None:
    page, kept = tmp_path / "map.html", tmp_path / "a.map"
    done = _run(
        CLEAN, CORRUPTED, "-m", tiny_folder("12B"), "--device", "cpu", "--part", "residual", "--part", "head",
        "--answer", "7", "--spans", 5, "--controls", 1, "--top", 3, "-o", page, "--save", kept,
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    lines = done.stdout.splitlines()
    assert lines[0].startswith("CausalMap(")
    found = gl.open_causal_map(kept)
    assert found.parts == ("residual", "head")
    assert found.draws == 1
    best = found.top(3)
    assert [float(line.split()[0]) for line in lines[-3:]] == [round(each.effect, 3) for each in best]
    written = page.read_text(encoding="utf-8")
    assert "causal" in written
    assert "patched" in written  # the runs behind the largest effect
    again = _run("--open", kept, "--top", 3, "-o", tmp_path / "b.html")
    assert again.exit_code == 0, again.output
    assert again.stdout == done.stdout


def test_pictures_of_both_prompts(tiny_folder: Any, tmp_path: Any) -> None:
    for color in ("red", "blue"):
        Image.new("RGB", (48, 48), color).save(tmp_path / f"{color}.png")
    done = _run(
        "Which?", "Which?", "-m", tiny_folder("31B"), "--device", "cpu", "--image", tmp_path / "red.png",
        "--corrupted-image", tmp_path / "blue.png", "--answer", "a", "--spans", 20, "--controls", 0,
        "--save", tmp_path / "a.map",
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    assert len(gl.open_causal_map(tmp_path / "a.map").corrupted.of_kind("image")) == 1


def test_wrong_use_is_told(tmp_path: Any) -> None:
    for wrong in ([], [CLEAN], ["--open", tmp_path / "none"], [CLEAN, CORRUPTED, "--open", tmp_path]):
        done = _run(*wrong)
        assert done.exit_code == 1
        assert "→" in done.stderr

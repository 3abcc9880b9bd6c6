"""``gemma-lab scan``, ``train-sae`` and ``sae-fit``."""

from __future__ import annotations

from typing import Any

import pytest
from support.saes import topk
from typer.testing import CliRunner

from gemma_lab.cli.app import app
from gemma_lab.cli.sparse_autoencoders import _split, read_prompts
from gemma_lab.errors import LabError


def _run(*arguments: Any) -> Any:
    return CliRunner().invoke(app, [*map(str, arguments)])


def test_a_scan_is_printed_and_written(tiny_folder: Any, tmp_path: Any) -> None:
    page = tmp_path / "scan.html"
    done = _run(
        "scan", "Ada has a lemon and a house.", "-m", tiny_folder("31B"), "-o", page, "--draws", 2,
        "--max-new-tokens", 2, "--device", "cpu",
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    assert "Without the best heads" in done.stdout
    assert "no experts" in done.stdout
    assert "ScanView" in page.read_text(encoding="utf-8")


def test_an_sae_is_trained_saved_and_measured(tiny_folder: Any, tmp_path: Any) -> None:
    prompts, out = tmp_path / "prompts.txt", tmp_path / "my-sae"
    prompts.write_text("\n".join(f"Line {number} of words" for number in range(20)), encoding="utf-8")
    done = _run(
        "train-sae", tiny_folder("31B"), "-o", out, "--layer", 1, "-p", prompts, "--features", 128, "-k", 16,
        "--steps", 150, "--batch-size", 64, "--device", "cpu",
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    assert "variance explained" in done.stdout
    again = _run("sae-fit", out, tiny_folder("31B"), "-p", prompts, "--device", "cpu")
    assert again.exit_code == 0, again.output
    other = topk(64, 1).save(tmp_path / "other")
    poor = _run("sae-fit", other, tiny_folder("31B"), "-p", prompts, "--device", "cpu")
    assert poor.exit_code == 1
    assert "below 0.5" in poor.stderr


def test_held_out_prompts_are_not_trained_on(tmp_path: Any) -> None:
    train, held_out = _split(None)
    assert len(train) > 300
    assert held_out
    assert not set(train) & set(held_out)
    path = tmp_path / "one.txt"
    path.write_text("a\n", encoding="utf-8")
    with pytest.raises(LabError, match="1 prompt"):
        _split(path)
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(LabError, match="cannot be read"):
        read_prompts(path)
    path.write_text(" \n", encoding="utf-8")
    with pytest.raises(LabError, match="no prompt"):
        read_prompts(path)

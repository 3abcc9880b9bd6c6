"""``gemma-lab fit-lens``: texts in, a lens out that fits the model and no other."""

from __future__ import annotations

from typing import Any

import pytest
from typer.testing import CliRunner

import gemma_lab as gl
from gemma_lab.cli.app import app
from gemma_lab.cli.jacobian_lens import read_texts
from gemma_lab.errors import LabError


def _run(*arguments: Any) -> Any:
    return CliRunner().invoke(app, ["fit-lens", *map(str, arguments)])


def test_a_file_of_texts_becomes_a_lens(tiny_folder: Any, tmp_path: Any) -> None:
    model, out, corpus = tiny_folder("31B"), tmp_path / "lens.safetensors", tmp_path / "diary.txt"
    corpus.write_text("It rained all day,\nand all night.\n\n\n The sun rose on us. \n", encoding="utf-8")
    done = _run(model, "--out", out, "--corpus", corpus, "--device", "cpu", "--max-tokens", 12)
    assert done.exit_code == 0, done.output
    assert "2 texts" in done.stdout
    lens = gl.JacobianLens.open(out)
    assert (lens.corpus, lens.texts, lens.max_tokens, lens.tokens) == ("diary.txt", 2, 12, 2 * (12 - 4 - 1))
    assert not out.with_suffix(".partial").exists()
    lab = gl.load(model, device="cpu", dtype="float32")
    lab.jacobian_lens = lens
    assert lab.trace("Hello", logit_lens="jacobian").logit_lens.kind == "jacobian"
    out.with_suffix(".partial").write_bytes(b"another")
    again = _run(model, "--out", out, "--corpus", corpus, "--device", "cpu")
    assert again.exit_code == 1
    assert "resume" in again.stderr


def test_what_it_takes_is_said_without_loading() -> None:
    done = _run("e2b-it", "--cost", "--copies", 16)
    assert done.exit_code == 0, done.output
    assert "35 layers × 1,536²: 96 backward passes" in done.stdout
    assert _run("mini-moe", "--cost").exit_code == 0
    missing = _run("mini-moe")
    assert missing.exit_code == 1
    assert "--out" in missing.stderr


def test_texts_are_paragraphs_or_json_lines(tmp_path: Any) -> None:
    path = tmp_path / "a.txt"
    path.write_text("one\n\n two\nlines \n\n\n", encoding="utf-8")
    assert read_texts(path) == ["one", "two\nlines"]
    path.write_text(" \n\n", encoding="utf-8")
    with pytest.raises(LabError, match="no text"):
        read_texts(path)
    path.write_bytes(b"\xff\xfe\xff")
    with pytest.raises(LabError, match="cannot be read"):
        read_texts(path)
    rows = tmp_path / "a.jsonl"
    rows.write_text('{"prompt": "a", "answer": "b"}\n', encoding="utf-8")
    assert read_texts(rows) == [{"prompt": "a", "answer": "b"}]

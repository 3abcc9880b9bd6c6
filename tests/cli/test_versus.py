"""``gemma-lab versus`` compares what its options name, and refuses what they cannot be together."""

from __future__ import annotations

import csv
import io
import json

import pytest
from typer.testing import CliRunner

import gemma_lab as gl
from gemma_lab.cli.app import app

FAST = (
    "-p",
    "What is this?",
    "--max-new-tokens",
    "4",
    "--rounds",
    "1",
    "--device",
    "cpu",
    "--dtype",
    "float32",
)


def run(*arguments):
    return CliRunner().invoke(app, ["versus", *map(str, arguments)])


def test_two_models_are_compared(tiny_folder, tmp_path):
    done = run(
        tiny_folder("26B-A4B"), tiny_folder("E2B"), *FAST, "--worst", "2", "--figure", tmp_path / "a.png",
        "--html", tmp_path / "a.html",
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    assert "has no experts" in done.stdout
    assert "KL, nats per token" in done.stdout
    assert "first's top" in done.stdout
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")
    assert "<table" in (tmp_path / "a.html").read_text()


def test_a_quantised_model_is_compared_with_itself(tiny_folder):
    done = run(tiny_folder("26B-A4B"), "-q", "int8", "--in-turn", "--json", *FAST)
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert found["second"]["name"].endswith("quantization int8")
    memory = {row["measure"]: row for row in found["rows"] if row["part"] == "memory"}
    experts = memory["experts, bytes"]
    assert experts["second"] < 0.56 * experts["first"]


def test_an_edit_of_a_file_is_compared(tiny_folder, tmp_path):
    path = gl.Edit(ablate_experts=range(40)).save(tmp_path / "edit.json")
    done = run(tiny_folder("26B-A4B"), "--edit", path, "--csv", *FAST)
    assert done.exit_code == 0, done.output
    rows = list(csv.DictReader(io.StringIO(done.stdout)))
    flipped = next(row for row in rows if row["measure"] == "slots flipped")
    assert float(flipped["change"]) > 0.1


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("mini-edge", "--json", "--csv"),
        ("mini-edge", "--edit", "none.json"),
        ("--edit", "none.json", "-q", "int8"),
        ("--edit", "none.json", "--in-turn"),
        ("http://localhost:1", "-q", "int8"),
        ("no-such-model",),
    ],
)
def test_what_cannot_be_compared_is_one_message(arguments):
    done = run("mini-moe", *arguments, *FAST)
    assert done.exit_code == 1, done.output
    assert "→" in done.stderr
    assert "Traceback" not in done.output


def test_an_adapter_is_compared_with_its_base_on_one_model(tiny_folder, tmp_path, monkeypatch):
    pytest.importorskip("peft")
    lab = gl.load(tiny_folder("26B-A4B"), device="cpu", dtype="float32")
    examples = [("What is this?", "abc"), ("What is that?", "def")]
    lab.fine_tune(examples, steps=4, learning_rate=0.02, progress=False).save(tmp_path / "letters")
    import gemma_lab.lab

    loads, load = [], gemma_lab.lab.load
    monkeypatch.setattr(gemma_lab.lab, "load", lambda *a, **k: loads.append(k) or load(*a, **k))
    done = run(tiny_folder("26B-A4B"), "--adapter", tmp_path / "letters", "--json", *FAST)
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert found["second"]["name"].endswith("adapter letters")
    assert [entry["adapter"] for entry in loads] == [tmp_path / "letters"]  # one model
    kl = next(row for row in found["rows"] if row["measure"] == "KL, nats per token")
    assert kl["change"] > 10 * kl["reference"]

"""The log that ships with a mini."""

from __future__ import annotations

import json

from gemma_lab.minis.training_log import write_log


def rows(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def written(path, *marks):
    path.write_text(
        "".join(json.dumps({"step": s, "seconds": t, "loss": loss}) + "\n" for s, t, loss in marks)
    )
    return path


def test_steps_that_were_trained_again_after_a_stop_count_once(tmp_path):
    log = written(
        tmp_path / "log.jsonl", (20, 5.0, 3), (40, 9.0, 2), (60, 14.0, 1), (40, 10.0, 7), (60, 15.5, 6)
    )
    write_log(log, tmp_path / "training.jsonl")
    assert [(row["step"], row["seconds"], row["loss"]) for row in rows(tmp_path / "training.jsonl")] == [
        (20, 5.0, 3), (40, 10.0, 7), (60, 15.5, 6),
    ]  # fmt: skip


def test_steps_and_seconds_count_on_from_the_training_that_it_continues(tmp_path):
    earlier = written(tmp_path / "training.jsonl", (20, 5.0, 3), (40, 9.5, 2))
    log = written(tmp_path / "log.jsonl", (20, 4.0, 1))
    write_log(log, tmp_path / "training.jsonl", earlier=earlier)
    found = rows(tmp_path / "training.jsonl")
    assert [(row["step"], row["seconds"]) for row in found] == [(20, 5.0), (40, 9.5), (60, 13.5)]

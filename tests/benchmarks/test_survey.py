"""Surveys: what an interruption costs, and what a second worker on Ray gains."""

from __future__ import annotations

import os
import statistics
import time

import pytest

import gemma_lab as gl
from gemma_lab.surveys import worker as workers

ROUNDS, PARTITIONS, SIZE = int(os.environ.get("GEMMA_LAB_BENCH_ROUNDS", "3")), 40, 20


def prompts(count: int) -> list[dict[str, str]]:
    languages = ("German", "French", "Turkish", "Japanese")
    return [
        {"prompt": f"Write {n} in {languages[n % 4]} words.", "language": languages[n % 4]}
        for n in range(count)
    ]


def test_resuming(record, tiny_folder, tmp_path, monkeypatch):
    """Interrupted at the worst moment, when the work of a whole partition is done and not yet written."""
    lab = gl.load(tiny_folder("26B-A4B"), device="cpu", dtype="float32")
    corpus, write = prompts(PARTITIONS * SIZE), workers.write_partition

    def run(name: str, *, interrupted: int | None) -> float:
        def stop(folder, number, *content):
            if number == interrupted and not (tmp_path / name / "stopped").exists():
                (tmp_path / name / "stopped").touch()
                raise KeyboardInterrupt
            return write(folder, number, *content)

        monkeypatch.setattr(workers, "write_partition", stop)
        options = {"out": tmp_path / name, "partition_size": SIZE, "batch_size": 20, "progress": False}
        began = time.process_time()
        if interrupted is not None:
            with pytest.raises(KeyboardInterrupt):
                gl.survey(corpus, lab, **options)
        done = gl.survey(corpus, lab, **options)
        assert done.complete
        return time.process_time() - began

    run("warm-up", interrupted=None)
    ratios = [
        run(f"stopped-{n}", interrupted=PARTITIONS // 2) / run(f"whole-{n}", interrupted=None)
        for n in range(ROUNDS)
    ]
    ratio = statistics.median(ratios)
    note = (
        f"{PARTITIONS * SIZE:,} prompts in {PARTITIONS} partitions, the work of one lost; median of {ROUNDS}"
    )
    record("survey-resume", round(ratio, 3), "≤ 1.05", "×", note)
    assert ratio <= 1.05


def test_two_workers(record, tmp_path):
    """Prompts per second once every worker has loaded its model, one thread each."""
    pytest.importorskip("ray")
    count, size = 6_400, 100

    def rate(workers: int) -> float:
        done = gl.survey(
            prompts(count), "mini-moe", out=tmp_path / str(workers), engine="ray", workers=workers,
            partition_size=size, batch_size=20, progress=False, load={"device": "cpu", "dtype": "float32"},
        )  # fmt: skip
        ended = sorted(path.stat().st_mtime for path in done.partitions)[2 * workers :]
        return (len(ended) - 1) * size / (ended[-1] - ended[0])

    one, two = rate(1), rate(2)
    rates = f"{one:.0f} and {two:.0f} prompts/s"
    note = f"mini-moe, {count:,} prompts in partitions of {size} and batches of 20; {rates}"
    record("survey-workers", round(two / one, 2), "≥ 1.7", "×", f"{note}, {os.cpu_count()} cores")
    assert two / one >= 1.7

"""Memory of a survey's worker: it must not grow with the number of prompts.

``GEMMA_LAB_BENCH_PROMPTS=100000`` sets how many; the default is a check of a minute or two.
"""

from __future__ import annotations

import json
import os
import threading

import numpy as np
import psutil

import gemma_lab as gl

PROMPTS = int(os.environ.get("GEMMA_LAB_BENCH_PROMPTS", "8000"))
PARTITION = 500


class Watch(threading.Thread):
    """Notes this process's resident bytes whenever a partition is complete."""

    def __init__(self, folder) -> None:
        super().__init__(daemon=True)
        self.folder, self.samples, self.done = folder, [], threading.Event()

    def run(self) -> None:
        process, last = psutil.Process(), -1
        while not self.done.wait(0.2):
            complete = len(list(self.folder.glob("part-*")))
            if complete != last:
                self.samples.append((complete * PARTITION, process.memory_info().rss))
                last = complete


def test_memory_is_flat(record, tiny_folder, tmp_path):
    prompts, folder = tmp_path / "prompts.jsonl", tmp_path / "survey"
    with prompts.open("w") as file:
        for number in range(PROMPTS):
            row = {
                "prompt": f"{number % 9973} {number % 101}",
                "kind": str(number % 7),
                "raw": number % 10 > 0,
            }
            file.write(json.dumps(row) + "\n")
    lab = gl.load(tiny_folder("26B-A4B"), device="cpu", dtype="float32")
    watch = Watch(folder)
    watch.start()
    done = gl.survey(
        prompts, lab, out=folder, partition_size=PARTITION, batch_size=32, keep_tokens=False, progress=False
    )
    watch.done.set()
    watch.join()
    assert done.complete
    counted, used = (np.asarray(column, float) for column in zip(*watch.samples, strict=True))
    early = np.median(used[(counted >= 0.1 * PROMPTS) & (counted <= 0.3 * PROMPTS)])
    late = np.median(used[counted >= 0.9 * PROMPTS])
    note = f"tiny 26B-A4B, batches of 32; {early / 1e6:.0f} MB at 10 to 30 %, {late / 1e6:.0f} MB at the end"
    grown = 100 * (late / early - 1)
    record("survey-memory", round(grown, 2), "≤ 5", "%", note, case=f"{PROMPTS:,} prompts")
    assert grown <= 5

"""What recording the attention costs: prefill of mini-moe with and without it, in turns, in fresh processes.

``pytest tests/benchmarks/test_attention_overhead.py -s``. Recorded is what ``lab.trace(attention=True)``
keeps by default: maps of 128 bins, statistics with mass by modality and role, the top 8 keys of every row,
all layers and heads. Time is processor time of one thread, the smallest of some rounds; memory is what a
process needs at its peak beyond the loaded model, the median of some processes, since the allocator alone
makes one differ from the next by a fifth. Plain is the model's own SDPA prefill in one pass. ``lab.trace``
reads long prompts in pieces, whose plain reading is faster: that ratio is reported beside it.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

TESTS = Path(__file__).parents[1]
WORKER = TESTS / "support" / "attention_worker.py"
#: tokens, tokens of a piece, rounds, whether HF eager's L×L weights fit
CASES = [(1024, 1024, 7, True), (4096, 4096, 3, True), (16384, 16384, 1, False), (16384, 1024, 2, False)]
NOTE = "mini-moe, 6 layers × 4 heads, fp32"


def measured(*arguments: Any) -> dict[str, Any]:
    command = [sys.executable, WORKER, *map(str, arguments)]
    env = os.environ | {"PYTHONPATH": str(TESTS)}
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False, env=env)
    assert done.returncode == 0, done.stdout
    return json.loads(done.stdout.strip().rpartition("\n")[2])


@pytest.mark.parametrize(("tokens", "piece", "rounds", "fits"), CASES)
def test_time(record, tokens, piece, rounds, fits):
    ways = "plain,probe,eager" if fits else "plain,probe"
    seconds = measured("time", ways, tokens, piece, rounds)
    ratio = seconds["probe"] / seconds["plain"]
    record(
        "attention-time", ratio, "≤ 1.5" if piece == tokens else "", "×",
        f"{NOTE}; plain {seconds['plain']:.2f} s, recorded {seconds['probe']:.2f} s",
        case=case(tokens, piece),
        rivals={"HF eager": f"{seconds['eager'] / seconds['plain']:.2f} ×"} if fits else {},
    )  # fmt: skip
    # a loose bound, for machines that do other work; the target is recorded
    assert ratio <= 3


@pytest.mark.parametrize(("tokens", "piece", "rounds", "fits"), CASES)
def test_memory(record, tokens, piece, rounds, fits):
    ways = ["plain", "probe", *(["eager"] if fits else [])]
    peaks = {way: [measured("memory", way, tokens, piece)["memory"] for _ in range(rounds)] for way in ways}
    if peaks["plain"][0] is None:
        pytest.skip("peak memory is read from /proc, which only Linux has")
    memory = {way: statistics.median(of_way) for way, of_way in peaks.items()}
    ratio = memory["probe"] / memory["plain"]
    record(
        "attention-memory", ratio, "≤ 1.3" if piece == tokens else "", "×",
        f"{NOTE}; beyond the loaded model: plain {memory['plain'] / 1e6:.0f} MB, recorded "
        f"{memory['probe'] / 1e6:.0f} MB", case=case(tokens, piece),
        rivals={"HF eager": f"{memory['eager'] / memory['plain']:.2f} ×"} if fits else {},
    )  # fmt: skip
    assert ratio <= 2


def case(tokens: int, piece: int) -> str:
    return f"{tokens:,} tokens" + ("" if piece == tokens else f" in pieces of {piece:,}")

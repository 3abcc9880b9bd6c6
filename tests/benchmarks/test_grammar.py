"""Speed of answers under a grammar ÷ speed of the same answers without, measured in turns in one run.

The questions are those of the check-up whose free answer is the bound one, token for token, so both generate
the same tokens and only the enforcement differs.
"""

from __future__ import annotations

import statistics
import time

import gemma_lab as gl

TARGET = 0.9
ROUNDS = 8


def test_enforcement_keeps_the_speed(record):
    lab = gl.load("mini-moe", progress=False)
    options = {"temperature": 0, "max_new_tokens": 128, "top_logprobs": 0}
    same = []
    for one in gl.evals.load_questions(skills=["records"], per_skill=6):
        free = lab.chat(one.prompt, **options)
        bound = lab.chat(one.prompt, schema=one.schema, **options)
        if [token.id for token in free.tokens] == [token.id for token in bound.tokens]:
            same.append(one)
    assert len(same) >= 3
    ratios = []
    for _ in range(ROUNDS):
        seconds = {}
        for name in ("free", "bound"):
            start = time.perf_counter()
            for one in same:
                lab.chat(one.prompt, **options, **({"schema": one.schema} if name == "bound" else {}))
            seconds[name] = time.perf_counter() - start
        ratios.append(seconds["free"] / seconds["bound"])
    ratio = statistics.median(ratios)
    note = f"{lab.name}, {len(same)} JSON answers, with compiling, median of {ROUNDS} rounds in turns"
    record("grammar-speed", ratio, f"≥ {TARGET}", "×", note)
    assert ratio >= TARGET

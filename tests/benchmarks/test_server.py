"""What the server adds to `Lab.stream`: tokens per second, and the time of the first token."""

from __future__ import annotations

import json
import statistics
import time

import httpx
from support.served import serving

import gemma_lab as gl

ROUNDS, TOKENS = 8, 96
ASK = "Write 47 in German words."


def local(lab) -> tuple[float, float]:
    """Seconds to the first text and to the end, read in this thread."""
    began, first = time.perf_counter(), 0.0
    for chunk in lab.stream(ASK, temperature=0, max_new_tokens=TOKENS, top_logprobs=0):
        first = first or (time.perf_counter() - began if chunk.text else 0.0)
    return first, time.perf_counter() - began


def served(client: httpx.Client, address: str) -> tuple[float, float]:
    """The same through the server, its lines read in this thread."""
    body = {
        "model": "mini-moe", "messages": [{"role": "user", "content": ASK}], "temperature": 0,
        "max_tokens": TOKENS, "stream": True,
    }  # fmt: skip
    began, first = time.perf_counter(), 0.0
    with client.stream("POST", f"{address}/v1/chat/completions", json=body) as response:
        for line in response.iter_lines():
            if not first and line.startswith("data: {"):
                content = json.loads(line[6:])["choices"][0]["delta"].get("content")
                first = time.perf_counter() - began if content else 0.0
    return first, time.perf_counter() - began


def test_tokens_per_second_and_first_token(record, monkeypatch):
    lab = gl.load("mini-moe", device="cpu", dtype="float32")
    # no end of turn: both must write the same number of tokens
    monkeypatch.setattr(lab.model.generation_config, "eos_token_id", None)
    with serving(lab) as address, httpx.Client(timeout=300) as client:
        served(client, address), local(lab)  # warm up
        pairs = [(local(lab), served(client, address)) for _ in range(ROUNDS)]
    speed = statistics.median(one[1] / other[1] for one, other in pairs)
    later = 1000 * statistics.median(other[0] - one[0] for one, other in pairs)
    note = f"{ROUNDS} pairs of {TOKENS} tokens, mini-moe; median"
    record("server-speed", round(speed, 3), "≥ 0.9", "×", note)
    record("server-first-token", round(later, 2), "≤ 20", "ms", note)
    assert speed >= 0.9
    assert later <= 20

"""How much of plain ``model.generate``'s speed chat keeps, measured side by side in one run.

Both write the same number of tokens from the same prompt with the same settings; rounds alternate, so that
whatever else the machine does falls on both. The ratio is tokens/s of chat ÷ tokens/s of generate, of whole
calls: template, tokenising and recording count for chat, the generation alone for its rival.
"""

from __future__ import annotations

import statistics
import time

import pytest

import gemma_lab as gl
from gemma_lab.models.messages import conversation
from gemma_lab.models.prompt import prepare

TARGET = 0.95
ROUNDS, NEW_TOKENS = 9, 128
PROMPT = "Write 47 in German words."


@pytest.mark.parametrize("sampling", [gl.Sampling.greedy(), gl.Sampling()], ids=str)
def test_chat_keeps_the_speed_of_generate(sampling, monkeypatch, capsys, record):
    lab = gl.load()
    # no end of turn: both must write the same number of tokens
    monkeypatch.setattr(lab.model.generation_config, "eos_token_id", None)
    inputs = prepare(lab, conversation(PROMPT)).inputs
    settings = sampling.to_dict() if sampling.do_sample else {}

    def generate() -> None:
        ids = lab.model.generate(
            **inputs, do_sample=sampling.do_sample, max_new_tokens=NEW_TOKENS, **settings
        )
        assert ids.shape[1] - inputs["input_ids"].shape[1] == NEW_TOKENS

    def chat() -> None:
        reply = lab.chat(PROMPT, sampling=sampling, seed=0, max_new_tokens=NEW_TOKENS)
        assert len(reply.tokens) == NEW_TOKENS

    def stream() -> None:
        with lab.stream(PROMPT, sampling=sampling, seed=0, max_new_tokens=NEW_TOKENS) as chunks:
            for _ in chunks:
                pass
        assert len(chunks.reply.tokens) == NEW_TOKENS

    ways = {"generate": generate, "chat": chat, "stream": stream}
    for way in ways.values():
        way()  # warm up
    speeds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(ROUNDS):
        for name, way in ways.items():
            speeds[name].append(NEW_TOKENS / _seconds(way))
    ratios = {
        name: statistics.median(a / b for a, b in zip(speeds[name], speeds["generate"], strict=True))
        for name in ways
    }
    with capsys.disabled():
        print(f"\n{lab!r}\n{sampling}, {NEW_TOKENS} tokens, {len(speeds['chat'])} rounds")
        print(f"{'way':<10}{'tokens/s':>10}{'÷ generate':>12}")
        for name in ways:
            print(f"{name:<10}{statistics.median(speeds[name]):>10.1f}{ratios[name]:>12.3f}")
    for name in ("chat", "stream"):
        note = f"{lab.name}, {NEW_TOKENS} tokens, median of {ROUNDS} rounds in turns"
        record("chat-speed", ratios[name], f"≥ {TARGET}", "×", note, case=f"{name}, {sampling}")
    assert ratios["chat"] >= TARGET
    assert ratios["stream"] >= TARGET


def _seconds(way) -> float:
    start = time.perf_counter()
    way()
    return time.perf_counter() - start

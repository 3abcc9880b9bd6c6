"""How much of plain ``model.generate``'s speed chat keeps, measured side by side in one run.

All write the same number of tokens from the same prompt with the same settings; rounds alternate, so that
whatever else the machine does falls on all. The ratio is tokens/s of chat ÷ tokens/s of generate, of whole
calls: template, tokenising and recording count for chat, the generation alone for its rival. A stream runs in
a thread of its own, so it is set beside the way in which transformers streams: ``generate`` in a thread with
a ``TextIteratorStreamer``. (A second thread that computes has OpenMP workers of its own, and those of both
wait for each other: with few cores and a small model that costs either of them a fifth.)

Each round runs at another depth of Python's stack. CPython keeps frames in chunks of 16 KiB and gives the
last one back as soon as it is empty: a call in the model's innermost loop that happens to cross into the next
costs a system call and its page faults every time, up to a third of a mini's speed. Which way that hits is
chance at any single depth, and at most depths it hits none: the ratio is the median of the rounds'.
"""

from __future__ import annotations

import statistics
import threading
import time
from collections.abc import Callable

import pytest
from transformers import TextIteratorStreamer

import gemma_lab as gl
from gemma_lab.models.chat.messages import conversation
from gemma_lab.models.chat.prompt import prepare
from gemma_lab.models.chat.request import Request

TARGET = 0.95
ROUNDS, NEW_TOKENS = 12, 128
FRAMES = 16  # of each round more than of the one before; all rounds together fill more than a chunk
PROMPT = "Write 47 in German words."


@pytest.mark.parametrize("sampling", [gl.Sampling.greedy(), gl.Sampling()], ids=str)
def test_chat_and_stream_keep_the_speed_of_generate(sampling, monkeypatch, capsys, record):
    lab = gl.load()
    # no end of turn: both must write the same number of tokens
    monkeypatch.setattr(lab.model.generation_config, "eos_token_id", None)
    inputs = prepare(lab, Request(conversation(PROMPT))).inputs
    settings = sampling.to_dict() if sampling.do_sample else {}

    def generate(**more) -> None:
        ids = lab.model.generate(
            **inputs, do_sample=sampling.do_sample, max_new_tokens=NEW_TOKENS, **settings, **more
        )
        assert ids.shape[1] - inputs["input_ids"].shape[1] == NEW_TOKENS

    def generate_in_a_thread() -> None:
        streamer = TextIteratorStreamer(lab.tokenizer, skip_prompt=True)
        thread = threading.Thread(target=generate, kwargs={"streamer": streamer})
        thread.start()
        for _ in streamer:
            pass
        thread.join()

    def chat() -> None:
        reply = lab.chat(PROMPT, sampling=sampling, seed=0, max_new_tokens=NEW_TOKENS)
        assert len(reply.tokens) == NEW_TOKENS

    def stream() -> None:
        with lab.stream(PROMPT, sampling=sampling, seed=0, max_new_tokens=NEW_TOKENS) as chunks:
            for _ in chunks:
                pass
        assert len(chunks.reply.tokens) == NEW_TOKENS

    ways = {
        "generate": generate, "chat": chat, "generate in a thread": generate_in_a_thread, "stream": stream,
    }  # fmt: skip
    for way in ways.values():
        way()  # warm up
    took: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(ROUNDS):
        for name, way in ways.items():
            took[name].append(_deeper(number * FRAMES, lambda way=way: _seconds(way)))
    with capsys.disabled():
        print(f"\n{lab!r}\n{sampling}, {NEW_TOKENS} tokens, {ROUNDS} rounds")
        for name, seconds in took.items():
            print(f"{name:<22}{NEW_TOKENS / statistics.median(seconds):>10.1f} tokens/s")
    ratios = {}
    for name, rival in (("chat", "generate"), ("stream", "generate in a thread")):
        ratios[name] = statistics.median(a / b for a, b in zip(took[rival], took[name], strict=True))
        note = f"{lab.name}, {NEW_TOKENS} tokens, median of {ROUNDS} rounds in turns; beside {rival}"
        record("chat-speed", ratios[name], f"≥ {TARGET}", "×", note, case=f"{name}, {sampling}")
    assert min(ratios.values()) >= TARGET


def _deeper(frames: int, run: Callable[[], float]) -> float:
    """Run something so many frames further down Python's stack."""
    return _deeper(frames - 1, run) if frames else run()


def _seconds(way: Callable[[], None]) -> float:
    start = time.perf_counter()
    way()
    return time.perf_counter() - start

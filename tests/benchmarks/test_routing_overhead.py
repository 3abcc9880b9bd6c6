"""What recording the routing costs: prefill with and without it, in turns, within one run.

``pytest tests/benchmarks/test_routing_overhead.py -s`` prints the table. The target is a ratio: at
most 1.05 of a plain prefill. It is taken of processor time, which other programs on the machine hardly
change; what is asserted is the smallest of several rounds of either, with a margin for noise.
"""

from __future__ import annotations

import statistics
import time

import pytest
import torch

import gemma_lab as gl
from gemma_lab.trace.probes.recorder import Recorder
from gemma_lab.trace.probes.routing import RoutingProbe

TARGET, NOISE = 1.05, 0.03
ROUNDS = 9


def timed(run) -> float:
    start = time.process_time()
    run()
    return time.process_time() - start


def in_turns(one, other) -> tuple[list[float], list[float]]:
    """Return the seconds of each, run in turns, the order changing from round to round."""
    one(), other()  # allocations and caches
    times: dict[object, list[float]] = {one: [], other: []}
    for number in range(ROUNDS):
        for run in (one, other) if number % 2 else (other, one):
            times[run].append(timed(run))
    return times[one], times[other]


@pytest.fixture(scope="module")
def model():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # a thread that waits for work counts as processor time
    yield gl.load("mini-moe", device="cpu", progress=False).model
    torch.set_num_threads(threads)


def report(name: str, plain: list[float], traced: list[float], routing) -> float:
    ratio = min(traced) / min(plain)
    median = statistics.median(t / p for t, p in zip(traced, plain, strict=True))
    print(
        f"\n{name}: plain {min(plain) * 1e3:.1f} ms, recorded {min(traced) * 1e3:.1f} ms, ratio {ratio:.3f} "
        f"(median of rounds {median:.3f}), {routing.bytes_per_token_layer:g} B per token and layer"
    )
    return min(ratio, median)


@pytest.mark.parametrize(("tokens", "most"), [(512, 1.15), (2048, TARGET)])
def test_prefill(model, tokens, most, record):
    """The target is that of 2,048 tokens; shorter prompts of so small a model are mostly Python."""
    ids = torch.randint(400, 4000, (1, tokens), generator=torch.Generator().manual_seed(0))
    probes = []

    @torch.no_grad()
    def plain():
        model(input_ids=ids, use_cache=False, logits_to_keep=1)

    @torch.no_grad()
    def recorded():
        probes.append(RoutingProbe())
        with Recorder(model, probes[-1:]):
            model(input_ids=ids, use_cache=False, logits_to_keep=1)

    ratio = report(f"prefill of {tokens:,} tokens", *in_turns(plain, recorded), probes[-1].result())
    target = f"≤ {TARGET}" if most == TARGET else ""
    record("routing-time", ratio, target, "×", "mini-moe, processor time", case=f"{tokens:,} tokens")
    kept = probes[-1].result().bytes_per_token_layer
    record("routing-bytes", kept, "≤ 28", "B", "128 experts, 8 per token", case=f"{tokens:,} tokens")
    assert ratio <= most + NOISE
    assert probes[-1].result().bytes_per_token_layer <= 28


def test_generation(model, record):
    """Reported, with a looser bound: a step of a 7 M model is mostly Python, and hooks are Python too."""
    ids = torch.arange(400, 420)[None]
    asked = {"input_ids": ids, "max_new_tokens": 24, "do_sample": False, "eos_token_id": [-1]}
    probes = []

    def recorded():
        probes.append(RoutingProbe())
        with Recorder(model, probes[-1:]):
            model.generate(**asked)

    times = in_turns(lambda: model.generate(**asked), recorded)
    ratio = report("generation of 24 tokens", *times, probes[-1].result())
    record("routing-time", ratio, "", "×", "a step is mostly Python", case="generation of 24 tokens")
    assert ratio <= 1.4

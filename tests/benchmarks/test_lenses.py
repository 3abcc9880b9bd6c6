"""What the Jacobian lens costs: a trace with it beside the logit lens, and a fit with and without copies.

Ratios of processor time within one run, the smallest of several rounds of either.
"""

from __future__ import annotations

import time

import pytest
import torch

import gemma_lab as gl
from gemma_lab.models.fine_tuning.encoding import ExampleSet
from gemma_lab.trace.lenses.fit import text_jacobians

ROUNDS = 5


def best(*runs):
    """Return the least seconds of each, run in turns."""
    times = [[] for _ in runs]
    for _ in range(ROUNDS):
        for run, kept in zip(runs, times, strict=True):
            start = time.process_time()
            run()
            kept.append(time.process_time() - start)
    return [min(kept) for kept in times]


@pytest.fixture(scope="module")
def lab():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield gl.load("mini-edge", device="cpu", progress=False)
    torch.set_num_threads(threads)


def test_a_trace_with_the_jacobian_lens(lab, record):
    text = "The quiet town slept under the stars. " * 8
    one, other = best(
        lambda: lab.trace(text, raw=True, logit_lens=True),
        lambda: lab.trace(text, raw=True, logit_lens="jacobian"),
    )
    ratio = other / one
    record("jacobian-lens-trace", ratio, "≤ 1.3", "×", "64 positions × 10 layers", case="mini-edge")
    assert ratio <= 1.3 + 0.1


def test_a_fit_with_copies(lab, record):
    for parameter in lab.model.parameters():
        parameter.requires_grad_(False)
    ids = ExampleSet(lab, ["The quiet town slept under the stars."]).examples[0].ids
    single, together = best(
        lambda: text_jacobians(lab.model, ids, copies=1, skip=2),
        lambda: text_jacobians(lab.model, ids, copies=64, skip=2),
    )
    ratio = single / together
    record("lens-fit-copies", ratio, "≥ 3", "×", f"{len(ids)} tokens, 64 copies of 128", case="mini-edge")
    assert ratio >= 3 * 0.8

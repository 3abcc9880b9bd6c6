"""How much faster a causal map is than patching cell by cell, and how far its effects are from that.

The rival is a forward pass per cell under a patch of `gemma_lab.Edit`, on inputs that are prepared once: no
tokenising, the output head on the last token alone. Both patch the same cells in the same run. Times are of
the processor, so that another process beside them does not count.
"""

from __future__ import annotations

import time

import numpy as np
import pytest
import torch

import gemma_lab as gl
from gemma_lab.models.chat.prompt import prepare

TARGET = 5
EQUAL = 1e-5
ROUNDS = 3
SAMPLED = 24  # cells that are patched one by one; their mean time stands for all
FACTS = "The code of Zoe is 52. The code of Ben is 75. Tell me the code of Ben."
FILLER = "The river was quiet all day. The garden was slow last summer. "


@pytest.fixture(scope="module")
def lab():
    return gl.load("mini-moe", device="cpu", dtype="float32", progress=False)


@pytest.mark.parametrize(("case", "before"), [("short prompt", ""), ("behind a long prefix", FILLER * 12)])
def test_batches_and_prefix_against_cell_by_cell(lab, record, case, before):
    clean, corrupted = before + FACTS, before + FACTS.replace("75", "31")
    torch.set_num_threads(1)
    taken = []
    for _ in range(ROUNDS):
        started = time.process_time()
        found = lab.causal_map(clean, corrupted, spans=1, controls=0, progress=False)
        taken.append(time.process_time() - started)
    effects = found.effects()
    places = np.argwhere(effects != 0)
    chosen = places[np.random.default_rng(0).permutation(len(places))[:SAMPLED]]
    columns = sorted({int(column) for _, column in chosen})
    activations = lab.activations(clean, positions=columns)
    inputs = prepare(lab, lab.request(corrupted)).inputs
    apart, off = [], 0.0
    for layer, column in chosen.tolist():
        patch = activations.at(layers=[layer], positions=[column])
        started = time.process_time()
        with lab.edit(patch=patch), torch.no_grad():
            logits = lab.model(**inputs, use_cache=False, logits_to_keep=1).logits[0, -1]
        apart.append(time.process_time() - started)
        logprob = float(logits.double().log_softmax(-1)[found.answer[0]])
        effect = logprob - found.corrupted_logprob
        off = max(off, abs(effect - effects[layer, column]) / max(1.0, abs(effect)))
    ratio = float(np.mean(apart)) * len(places) / sorted(taken)[ROUNDS // 2]
    note = f"{len(places)} cells of {len(found.clean_tokens)} tokens, mini-moe, one thread, processor time"
    record("causal-map-speed", ratio, f"≥ {TARGET}", "× faster", note, case=case)
    note = f"of effects beyond 1 nat the fraction that they are off by; {SAMPLED} cells one by one"
    record("causal-map-exact", off, f"≤ {EQUAL}", "nats", note, case=case)
    assert off <= EQUAL
    assert ratio >= TARGET

"""Whatever interrupts a verb, once or twice, at whatever line: the model is afterwards as it was before."""

from __future__ import annotations

import os
import random
import signal
import threading
import time

import pytest
import torch
from support import shapes
from support.interrupts import Injector
from support.moe import hooks
from transformers import AttentionInterface
from transformers.masking_utils import AttentionMaskInterface

from gemma_lab import AttentionKnockout, Edit
from gemma_lab.lab import Lab
from gemma_lab.trace.interventions.apply import active_edit
from gemma_lab.trace.probes.model_modules import attentions

#: Interrupted runs; GEMMA_LAB_INTERRUPTS=1000 runs more.
RUNS = int(os.environ.get("GEMMA_LAB_INTERRUPTS", "60"))
SEED = int(os.environ.get("GEMMA_LAB_INTERRUPTS_SEED", "7"))
IDS = torch.arange(30, 44)[None]


@pytest.fixture(scope="module", params=["26B-A4B", "E2B"])
def lab(request):
    return Lab(
        model=shapes.tiny_model(request.param), processor=shapes.tiny_processor(request.param), name="tiny"
    )


def edit(lab):
    knockout = AttentionKnockout(queries=(5, 9), keys=(2, 4))
    experts = {"ablate_experts": [3]} if getattr(lab.text_config, "enable_moe_block", False) else {}
    return Edit(ablate_heads={1: [0]}, knock_out_attention=knockout, **experts)


def trace(lab):
    lab.trace("Hi there", max_new_tokens=2, attention=True, logit_lens=True, edit=edit(lab))


def read(lab):
    lab.trace("Hi there", attention=True, edit=edit(lab))


def chat(lab):
    lab.chat("Hi", max_new_tokens=2)


def stream(lab):
    for chunk in lab.stream("Hi", max_new_tokens=3):
        assert chunk.tokens


def edited(lab):
    with lab.edit(edit(lab)), lab.edit(ablate_heads={0: [1]}):
        logits(lab)


VERBS = (trace, read, chat, stream, edited)


@torch.no_grad()
def logits(lab):
    return lab.model(input_ids=IDS).logits


def state(lab):
    """Everything that must be as before."""
    deadline = time.monotonic() + 30
    while lab.lock.locked() and time.monotonic() < deadline:
        time.sleep(0.01)  # a stream's thread ends within a layer's time
    configs = [lab.text_config, *(module.config for module in attentions(lab.model).values())]
    return {
        "hooks": hooks(lab.model),
        "attention": {config._attn_implementation for config in configs},
        "registered": len(AttentionInterface._global_mapping) + len(AttentionMaskInterface._global_mapping),
        "locked": lab.lock.locked(),
        "edit": active_edit(lab.model),
        "gradients": torch.is_grad_enabled(),
        "handler": signal.getsignal(signal.SIGINT),
    }


def interrupted(lab, verb, random_, trails, *, by_signal):
    """Interrupt a verb twice: at a line drawn from the distinct lines that it runs, and shortly after."""
    if verb not in trails:
        trails[verb] = Injector()
        assert trails[verb](lambda: verb(lab)) is None
    trail = trails[verb].trail
    place = random_.choice(sorted(set(trail)))
    first = random_.choice([number for number, other in enumerate(trail, start=1) if other == place])
    inject = Injector(first, int(random_.expovariate(1 / 12)) + 1, by_signal=by_signal)
    error = inject(lambda: verb(lab))  # kept, so that no finaliser cleans up behind it
    return inject.places, error


@pytest.mark.parametrize("by_signal", [True, False], ids=["signal", "raised"])
def test_nothing_is_left_by_interrupts_at_any_line(lab, by_signal):
    random_, trails = random.Random(SEED + by_signal), {}
    before, plain = state(lab), logits(lab)
    hit = 0
    for number in range(-(-RUNS // 4)):
        verb = VERBS[number % len(VERBS)]
        places, error = interrupted(lab, verb, random_, trails, by_signal=by_signal)
        hit += len(places)
        assert state(lab) == before, (verb.__name__, places)
        assert torch.equal(logits(lab), plain), (verb.__name__, places)
        del error
    assert hit >= RUNS // 4
    with lab.edit(edit(lab)):
        assert not torch.equal(logits(lab), plain)
    assert lab.chat("Hi", max_new_tokens=2, temperature=0).tokens


def test_nothing_is_left_by_interrupts_in_another_thread(lab):
    random_, trails = random.Random(SEED), {}
    before, plain = state(lab), logits(lab)
    for number in range(max(2, RUNS // 10)):
        verb = (trace, chat, edited)[number % 3]
        places = []
        worker = threading.Thread(
            target=lambda verb=verb, places=places: places.extend(
                interrupted(lab, verb, random_, trails, by_signal=False)[0]
            )
        )
        worker.start()
        worker.join()
        assert state(lab) == before, (verb.__name__, places)
        assert torch.equal(logits(lab), plain)

"""Speed of adapter training beside a plain loop with PEFT, on the same batches in one run.

The plain loop is the one that PEFT's documentation shows: ``get_peft_model``, the model's own loss from
``labels``, ``backward``, AdamW. Both train a fresh adapter of the same targets, rank and seed on the same
padded batches; steps alternate, so that whatever else the machine does falls on both. The ratio is that of
the medians of the steps' times, plain ÷ this kit. Reading examples is not part of either.
"""

from __future__ import annotations

import statistics
import time

import pytest
import torch
from peft import LoraConfig, get_peft_model

import gemma_lab as gl
from gemma_lab.models.fine_tuning.batches import batch_indices, make_batch
from gemma_lab.models.fine_tuning.encoding import ExampleSet
from gemma_lab.models.fine_tuning.lora_layers import LoraLayers
from gemma_lab.models.fine_tuning.settings import training_settings
from gemma_lab.models.fine_tuning.targets import resolve_targets
from gemma_lab.models.fine_tuning.trainer import Trainer

TARGET = 0.9
STEPS, SIZE, RANK = 16, 8, 8
EXAMPLES = [(f"What is {n} + {n + 3}?", f"{n} plus {n + 3} is {2 * n + 3}.") for n in range(64)]


@pytest.mark.parametrize("targets", [("attention",), ("attention", "experts")], ids="+".join)
def test_training_keeps_the_speed_of_a_plain_loop(targets, capsys, record):
    kit, plain = gl.load("mini-moe", progress=False), gl.load("mini-moe", progress=False)
    chosen = resolve_targets(kit.model, targets)
    data = ExampleSet(kit, EXAMPLES)
    settings = training_settings(
        chosen.names, examples=len(data), rank=RANK, alpha=None, learning_rate=1e-3, steps=STEPS,
        minutes=None, batch_size=SIZE, seed=0, gradient_checkpointing=False,
    )  # fmt: skip
    layers = LoraLayers(kit.model, chosen, rank=RANK, alpha=settings.alpha)
    layers.attach()
    trainer = Trainer(kit, layers, data, settings)
    config = LoraConfig(
        r=RANK, lora_alpha=settings.alpha, target_modules=chosen.module_pattern or [],
        target_parameters=chosen.parameter_names,
    )  # fmt: skip
    peft_model = get_peft_model(plain.model, config)
    optimizer = torch.optim.AdamW([p for p in peft_model.parameters() if p.requires_grad], lr=1e-3)

    def plain_step(step: int) -> None:
        indices = batch_indices(step, size=SIZE, count=len(data), seed=0)
        batch = make_batch([data.get(index) for index in indices], padding=0)
        loss = peft_model(**batch.inputs, labels=batch.labels).loss
        torch.autograd.backward(loss)
        torch.nn.utils.clip_grad_norm_(peft_model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        float(loss.detach())

    took: dict[str, list[float]] = {"plain": [], "kit": []}
    with layers.trainable(), torch.enable_grad():
        for step in range(STEPS):
            for name, work in (("plain", lambda: plain_step(step)), ("kit", trainer.train_step)):  # noqa: B023
                start = time.perf_counter()
                work()
                took[name].append(time.perf_counter() - start)
    ratio = statistics.median(took["plain"][2:]) / statistics.median(took["kit"][2:])
    with capsys.disabled():
        print(f"\n{targets}: " + ", ".join(f"{k} {statistics.median(v):.3f} s" for k, v in took.items()))
    key = "training-experts" if "experts" in targets else "training-attention"
    record(key, ratio, f"≥ {TARGET}", "×", f"median of {STEPS - 2} steps of {SIZE} examples, rank {RANK}")
    assert ratio >= TARGET

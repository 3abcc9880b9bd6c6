"""Estimates of training memory, beside what autograd really keeps."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

import gemma_lab as gl
from gemma_lab.errors import DoesNotFit, LabError
from gemma_lab.models.fine_tuning.batches import make_batch
from gemma_lab.models.fine_tuning.before_loading import require_memory_before_loading
from gemma_lab.models.fine_tuning.checkpointing import checkpointed
from gemma_lab.models.fine_tuning.encoding import ExampleSet
from gemma_lab.models.fine_tuning.lora_layers import LoraLayers
from gemma_lab.models.fine_tuning.loss import answer_loss
from gemma_lab.models.fine_tuning.memory import training_memory
from gemma_lab.models.fine_tuning.settings import training_settings
from gemma_lab.models.fine_tuning.targets import resolve_targets
from gemma_lab.system.hardware import Device


def _settings(targets: Any, **options: Any) -> Any:
    plain = {"examples": 8, "rank": 8, "alpha": None, "learning_rate": 1e-3, "steps": 1, "minutes": None}
    more = {"batch_size": 4, "seed": 0, "gradient_checkpointing": False}
    return training_settings(targets, **{**plain, **more, **options})


def _kept(model: Any, batch: Any, layers: LoraLayers) -> int:
    """Return the bytes of all tensors that autograd keeps of a loss, weights left out, each storage once."""
    weights = {p.untyped_storage().data_ptr() for p in model.parameters()}
    found: dict[int, int] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            found[storage.data_ptr()] = storage.nbytes()
        return tensor

    with layers.trainable(), torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        loss = answer_loss(model, batch)
        total = sum(found.values())
        torch.autograd.backward(loss)
    return total


@pytest.mark.parametrize(
    ("name", "targets"),
    [
        ("mini-moe", ("attention",)),
        ("mini-moe", ("attention", "experts")),
        ("mini-edge", ("attention", "mlp")),
    ],
)
def test_the_estimate_covers_what_is_kept_without_multiples_of_it(name: str, targets: Any) -> None:
    lab = gl.load(name, device="cpu", progress=False)
    chosen = resolve_targets(lab.model, targets)
    data = ExampleSet(lab, [("What is the capital? " * 12, "Paris it is")] * 4)
    batch = make_batch([*data.first(4)], padding=0)
    layers = LoraLayers(lab.model, chosen, rank=8, alpha=16)
    layers.attach()
    kept = _kept(lab.model, batch, layers)
    tokens, answers = batch.labels.numel(), batch.answer_tokens
    needed = training_memory(lab.model, chosen, _settings(targets), tokens=tokens, answer_tokens=answers)
    estimate = needed.activations + needed.experts + needed.logits
    assert 0.95 * kept < estimate < 2 * kept, (kept, estimate)
    assert needed.adapter == 16 * chosen.adapter_parameters(8)
    with checkpointed(lab.model):
        less = _kept(lab.model, batch, layers)
    deep = training_memory(
        lab.model,
        chosen,
        _settings(targets, gradient_checkpointing=True),
        tokens=tokens,
        answer_tokens=answers,
    )
    assert less < kept
    assert deep.total < needed.total


def test_a_real_moe_needs_adapted_copies_of_its_experts() -> None:
    model = gl.meta_model("26B-A4B")
    for names, experts in ((("attention",), 0), (("experts",), 30 * 128 * (1408 * 2816 + 2816 * 704) * 2)):
        needed = training_memory(
            model, resolve_targets(model, names), _settings(names), tokens=4096, answer_tokens=512
        )
        assert needed.experts == experts
    deep = _settings(("experts",), gradient_checkpointing=True)
    needed = training_memory(
        model, resolve_targets(model, ("experts",)), deep, tokens=4096, answer_tokens=512
    )
    assert needed.experts == pytest.approx(128 * (1408 * 2816 + 2816 * 704) * 2, rel=0.01)


def test_what_cannot_fit_is_refused_before_loading(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    card = Device("cuda:0", "NVIDIA RTX 4090", bfloat16=True, total=24 * 2**30, free=23 * 2**30)
    monkeypatch.setattr("gemma_lab.models.fine_tuning.before_loading.devices", lambda: (card,))
    with pytest.raises(DoesNotFit, match=r"23\.0 GiB are free on NVIDIA RTX 4090"):
        require_memory_before_loading("26b-a4b-it", _settings(("attention",)), [800] * 8)
    needed = require_memory_before_loading("e2b-it", _settings(("attention",)), [800] * 8)
    assert 0 < needed.total < 12 * 2**30
    with pytest.raises(LabError, match="experts"):
        require_memory_before_loading("e2b-it", _settings(("experts",)), [800] * 8)
    assert require_memory_before_loading("mini-moe", _settings(("experts",)), [80]).experts > 0

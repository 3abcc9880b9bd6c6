"""Training: it learns, repeats, resumes, and leaves nothing behind but its adapter."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from support.shapes import SIZES

import gemma_lab as gl
from gemma_lab.errors import DoesNotFit, LabError, MissingExtra
from gemma_lab.models.fine_tuning.batches import make_batch
from gemma_lab.models.fine_tuning.change_check import AdapterWarning
from gemma_lab.models.fine_tuning.checkpointing import checkpointed
from gemma_lab.models.fine_tuning.encoding import ExampleSet
from gemma_lab.models.fine_tuning.lora_layers import LoraLayers
from gemma_lab.models.fine_tuning.loss import answer_loss
from gemma_lab.models.fine_tuning.targets import available_targets, resolve_targets

_PAIRS = [("abc", "d"), ("bcd", "ef"), ("cde", "fgh"), ("def", "ghi"), ("efg", "h")]
_QUICK: dict[str, Any] = {"rank": 2, "learning_rate": 1e-2, "batch_size": 2, "progress": False}


def _media_examples(lab: Any) -> list[Any]:
    picture = Image.effect_noise((96, 64), 80).convert("RGB")
    found: list[Any] = [*_PAIRS, {"prompt": "see", "answer": "red", "images": [picture]}]
    if "audio" in lab.modalities:
        sound = np.random.default_rng(0).standard_normal(8_000).astype(np.float32) / 10
        found.append({"prompt": "hear", "answer": "low", "audio": (sound, 16_000)})
    return found


def _state(lab: Any) -> list[tuple[str, int, bool, torch.Tensor]]:
    return [(name, id(p), p.requires_grad, p.detach().clone()) for name, p in lab.model.named_parameters()]


def _same(before: list[Any], after: list[Any]) -> bool:
    return len(before) == len(after) and all(
        a[:3] == b[:3] and torch.equal(a[3], b[3]) for a, b in zip(before, after, strict=True)
    )


@pytest.mark.parametrize("size", SIZES)
def test_all_targets_of_every_shape_learn_and_unloading_restores_the_base(own_lab: Any, size: str) -> None:
    lab = own_lab(size)
    before, buffers = _state(lab), {n: b.clone() for n, b in lab.model.named_buffers()}
    modules = [
        (name, id(module), type(module), module.training) for name, module in lab.model.named_modules()
    ]
    answer = lab.chat("abc", temperature=0, max_new_tokens=4, top_logprobs=0)
    examples = _media_examples(lab)
    adapter = lab.fine_tune(
        examples,
        targets=list(available_targets(lab.model)),
        steps=12,
        **{**_QUICK, "batch_size": len(examples)},
    )
    assert adapter.losses[-1] < adapter.losses[0] - 0.5
    assert len(adapter.gradients) == len(adapter.tensors)
    assert min(adapter.gradients.values()) > 0
    assert adapter.kl_to_base > 0
    assert lab.name.endswith("+adapter")
    check = adapter.check()
    assert check.passed, check.problems
    assert check.differences.keys() == {"merged", "reloaded, packed", "reloaded, per expert"}
    lab.adapters.unload()
    assert _same(before, _state(lab))
    assert all(torch.equal(b, buffers[n]) for n, b in lab.model.named_buffers())
    assert modules == [(n, id(m), type(m), m.training) for n, m in lab.model.named_modules()]
    assert not hasattr(lab.model, "peft_config")
    again = lab.chat("abc", temperature=0, max_new_tokens=4, top_logprobs=0)
    assert [(t.id, t.logprob) for t in again.tokens] == [(t.id, t.logprob) for t in answer.tokens]
    assert lab.name == answer.model


@pytest.mark.parametrize("size", SIZES)
def test_gradients_are_equal_with_and_without_checkpointing(own_lab: Any, size: str) -> None:
    lab = own_lab(size)
    model = lab.model
    layers = LoraLayers(model, resolve_targets(model, list(available_targets(model))), rank=2, alpha=4)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in layers.parameters().values():
            parameter.copy_(0.1 * torch.randn(parameter.shape, generator=generator))
    data = ExampleSet(lab, _media_examples(lab))
    batch = make_batch([*data.first(99)], padding=0)
    layers.attach()
    found, runs = [], []
    router = next((m for n, m in model.named_modules() if n.endswith("layers.0.mlp.gate_proj")), None)
    for deep in (False, True):
        runs.append(0)
        base = getattr(router, "base_layer", router)
        handle = base.register_forward_pre_hook(lambda *_: runs.append(runs.pop() + 1))
        with layers.trainable() as factors:
            if deep:
                with checkpointed(model):
                    torch.autograd.backward(answer_loss(model, batch))
            else:
                torch.autograd.backward(answer_loss(model, batch))
            found.append([factor.grad.clone() for factor in factors])
        handle.remove()
    assert runs == [1, 2]  # the layer really was computed again
    for plain, deep in zip(*found, strict=True):
        torch.testing.assert_close(plain, deep, atol=1e-6, rtol=1e-4)
    assert not any(module.training for module in model.modules())
    assert not any(vars(module).get("gradient_checkpointing") for module in model.modules())


def test_equal_seeds_give_equal_adapters_and_the_global_state_is_unused(own_lab: Any) -> None:
    found = []
    for seed, noise in ((1, 10), (1, 11), (2, 10)):
        lab = own_lab("26B-A4B")
        torch.manual_seed(noise)
        state = torch.random.get_rng_state()
        found.append(lab.fine_tune(_PAIRS, targets=("attention", "experts"), steps=4, seed=seed, **_QUICK))
        assert torch.equal(torch.random.get_rng_state(), state)
    assert found[0].digest == found[1].digest != found[2].digest
    assert found[0].losses == found[1].losses


@pytest.mark.parametrize("stop", [1, 3, 6])
def test_an_interrupted_run_resumes_to_the_undisturbed_result(
    own_lab: Any, tmp_path: Path, stop: int
) -> None:
    options = {"targets": ("attention", "experts"), "steps": 7, **_QUICK}
    whole = own_lab("26B-A4B").fine_tune(_PAIRS, **options)
    lab = own_lab("26B-A4B")
    before = _state(lab)

    def interrupt(progress: Any) -> None:
        if progress.step == stop:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        lab.fine_tune(_PAIRS, checkpoint=tmp_path / "run", on_progress=interrupt, **options)
    assert lab.adapters.active is None
    assert _same(before, _state(lab))
    assert not lab.lock.locked()
    assert not lab.last_adapter.finished
    assert len(lab.last_adapter.losses) == stop
    with pytest.raises(LabError, match="resume=True"):
        lab.fine_tune(_PAIRS, checkpoint=tmp_path / "run", **options)
    resumed = own_lab("26B-A4B").fine_tune(_PAIRS, checkpoint=tmp_path / "run", resume=True, **options)
    assert resumed.losses == whole.losses
    assert resumed.gradients == whole.gradients
    assert all(torch.equal(resumed.tensors[name], whole.tensors[name]) for name in whole.tensors)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"rank": 4}, "rank=2"),
        ({"seed": 9}, "seed=0"),
        ({"learning_rate": 1e-3}, "learning_rate"),
        ({"targets": "mlp"}, "targets"),
        ({"examples": _PAIRS[:3]}, "other examples"),
    ],
)
def test_a_run_is_not_resumed_with_other_settings(
    own_lab: Any, tmp_path: Path, change: Any, named: str
) -> None:
    lab = own_lab("31B")
    options = {"examples": _PAIRS, "targets": "attention", "steps": 2, **_QUICK, "checkpoint": tmp_path}
    lab.fine_tune(**options)
    with pytest.raises(LabError, match=named):
        lab.fine_tune(**{**options, **change}, resume=True)
    assert len(lab.adapters) == 1


def test_progress_counts_steps_and_tokens_and_ends_at_one(own_lab: Any) -> None:
    seen: list[Any] = []
    lab = own_lab("31B")
    adapter = lab.fine_tune(_PAIRS, steps=3, on_progress=seen.append, **_QUICK)
    assert [p.step for p in seen] == [1, 2, 3]
    assert seen[-1].fraction == 1
    assert [p.loss for p in seen] == adapter.losses
    data = ExampleSet(lab, _PAIRS)
    assert seen[-1].tokens <= 3 * 2 * max(len(e.ids) for e in data.examples)
    assert max(p.learning_rate for p in seen) == pytest.approx(1e-2, rel=0.3)


def test_minutes_end_a_run(own_lab: Any) -> None:
    adapter = own_lab("31B").fine_tune(_PAIRS, minutes=0.01, **_QUICK)
    assert adapter.finished
    assert adapter.losses


def test_an_error_in_a_callback_leaves_the_base(own_lab: Any) -> None:
    lab = own_lab("E2B")
    before = _state(lab)

    def fail(_: Any) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        lab.fine_tune(_PAIRS, steps=3, on_progress=fail, **_QUICK)
    assert _same(before, _state(lab))
    assert not lab.lock.locked()
    assert torch.is_grad_enabled()


def test_a_second_training_starts_from_the_base_and_keeps_the_first(own_lab: Any) -> None:
    lab = own_lab("31B")
    first = lab.fine_tune(_PAIRS, steps=3, name="one", **_QUICK)
    second = lab.fine_tune(_PAIRS, steps=3, name="one", **_QUICK)
    assert (first.name, second.name) == ("one", "one-2")
    assert lab.adapters.active is second
    assert first.digest == second.digest


@pytest.mark.parametrize(
    "options",
    [
        {"rank": 0}, {"rank": 1.5}, {"alpha": float("nan")}, {"learning_rate": 0}, {"learning_rate": -1},
        {"learning_rate": "fast"}, {"steps": 0}, {"steps": True}, {"minutes": 0}, {"steps": 1, "minutes": 1},
        {"batch_size": 0}, {"seed": -1}, {"gradient_checkpointing": "yes"}, {"resume": True},
        {"examples": "abc"}, {"examples": []}, {"examples": None}, {"examples": {"prompt": "a"}},
        {"targets": "vision"}, {"name": ""}, {"name": 3},
    ],
)  # fmt: skip
def test_bad_options_are_refused_before_training(own_lab: Any, options: dict[str, Any]) -> None:
    lab = own_lab("31B")
    before = _state(lab)
    with pytest.raises(LabError):
        lab.fine_tune(**{"examples": _PAIRS, "steps": 1, **_QUICK, **options})
    assert _same(before, _state(lab))
    assert len(lab.adapters) == 0


def test_too_little_memory_is_refused_with_numbers(own_lab: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from gemma_lab.system.hardware import Device

    small = Device("cpu", "CPU", bfloat16=False, total=2**20, free=2**19)
    monkeypatch.setattr("gemma_lab.models.fine_tuning.memory.devices", lambda: (small,))
    with pytest.raises(DoesNotFit) as error:
        own_lab("31B").fine_tune(_PAIRS, steps=1, **_QUICK)
    assert "0.5 MiB" in error.value.what
    assert "gradient_checkpointing=True" in error.value.hint


def test_a_missing_extra_is_named(own_lab: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    lab = own_lab("31B")
    monkeypatch.setitem(__import__("sys").modules, "peft", None)
    for call in (lambda: lab.fine_tune(_PAIRS, steps=1), lambda: gl.load("nowhere", adapter=tmp_path)):
        with pytest.raises(MissingExtra, match="fine-tuning"):
            call()


def test_a_training_without_effect_warns(own_lab: Any) -> None:
    lab = own_lab("31B")
    with pytest.warns(AdapterWarning, match="changes nothing"):
        lab.fine_tune(_PAIRS, steps=1, **{**_QUICK, "learning_rate": 1e-9})
    # an image that comes only after the last step leaves the tower without a gradient
    picture = Image.effect_noise((96, 64), 80).convert("RGB")
    late = [*_PAIRS, {"prompt": "see", "answer": "red", "images": [picture]}]
    with pytest.warns(AdapterWarning, match="no\\s+gradient"):
        lab.fine_tune(
            late, targets=("attention", "vision"), steps=2, **{**_QUICK, "batch_size": 1, "seed": 1}
        )
    with warnings.catch_warnings():
        warnings.simplefilter("error", AdapterWarning)
        lab.fine_tune(_PAIRS, steps=3, **_QUICK)


def test_a_loss_that_is_not_finite_ends_the_run(own_lab: Any) -> None:
    lab = own_lab("31B")
    with torch.no_grad():
        lab.model.model.language_model.norm.weight.fill_(float("nan"))
    with pytest.raises(LabError, match="not finite"):
        lab.fine_tune(_PAIRS, steps=1, **_QUICK)
    assert lab.adapters.active is None


def test_training_in_bfloat16_keeps_float32_factors(own_lab: Any) -> None:
    lab = own_lab("26B-A4B", dtype="bfloat16")
    adapter = lab.fine_tune(_PAIRS, targets=("attention", "experts", "mlp"), steps=12, **_QUICK)
    assert {tensor.dtype for tensor in adapter.tensors.values()} == {torch.float32}
    assert adapter.losses[-1] < adapter.losses[0]
    check = adapter.check()
    assert check.passed, check.problems
    assert check.tolerance < check.change


def test_the_model_can_chat_between_steps_and_adapters_cannot_change(own_lab: Any) -> None:
    lab = own_lab("26B-A4B")
    seen: list[Any] = []

    def ask(progress: Any) -> None:
        reply = lab.chat("abc", temperature=0, max_new_tokens=2, top_logprobs=0)
        seen.append((reply.model, lab.trace("abc").meta["adapter"]["name"]))
        for change in (lambda: lab.fine_tune(_PAIRS, steps=1), lambda: lab.adapters.load("x")):
            with pytest.raises(LabError, match="being trained"):
                change()

    options = {"targets": ("attention", "experts"), "steps": 3, **_QUICK}
    name = lab.name
    watched = lab.fine_tune(_PAIRS, on_progress=ask, gradient_checkpointing=True, **options)
    assert seen == [(f"{name}+adapter", "adapter")] * 3
    plain = own_lab("26B-A4B").fine_tune(_PAIRS, gradient_checkpointing=True, **options)
    assert watched.digest == plain.digest
    assert not lab.lock.locked()
    lab.adapters.unload()
    assert (lab.name, lab.adapter) == (name, None)

"""LoRA layers: nothing is left behind, gradients reach every factor, the update is the documented one."""

from __future__ import annotations

import pytest
import torch
from support.shapes import SIZES, tiny_model

from gemma_lab.errors import LabError
from gemma_lab.models.fine_tuning.lora_layers import LoraLayers
from gemma_lab.models.fine_tuning.targets import available_targets, resolve_targets


def _inputs() -> dict[str, torch.Tensor]:
    ids = torch.randint(40, 200, (2, 12), generator=torch.Generator().manual_seed(1))
    return {
        "input_ids": ids,
        "attention_mask": torch.ones_like(ids),
        "mm_token_type_ids": torch.zeros_like(ids),
    }


def _layers(model: torch.nn.Module, names: object = None, **options: int) -> LoraLayers:
    targets = resolve_targets(model, list(available_targets(model)) if names is None else names)
    return LoraLayers(model, targets, **{"rank": 2, "alpha": 4, "seed": 1, **options})


def _stirred(layers: LoraLayers, scale: float = 0.05) -> None:
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in layers.parameters().values():
            parameter.copy_(scale * torch.randn(parameter.shape, generator=generator))


def _snapshot(model: torch.nn.Module) -> tuple[object, ...]:
    return (
        [(name, id(module), type(module)) for name, module in model.named_modules()],
        [(name, id(value), value.requires_grad) for name, value in model.named_parameters()],
        [sorted(vars(module)) for module in model.modules()],
    )


@pytest.mark.parametrize("size", SIZES)
def test_attaching_and_detaching_restores_the_model_bit_for_bit(size: str) -> None:
    model = tiny_model(size)
    before = _snapshot(model)
    values = {name: value.clone() for name, value in model.state_dict().items()}
    expected = model(**_inputs()).logits
    layers = _layers(model)
    assert _snapshot(model) == before  # a new adapter is detached
    layers.attach()
    assert torch.equal(model(**_inputs()).logits, expected)  # and changes nothing
    _stirred(layers)
    changed = model(**_inputs()).logits
    assert (changed - expected).abs().max() > 0.05
    layers.detach()
    assert _snapshot(model) == before
    assert list(model.state_dict()) == list(values)
    assert all(torch.equal(value, values[name]) for name, value in model.state_dict().items())
    assert torch.equal(model(**_inputs()).logits, expected)


@pytest.mark.parametrize("size", SIZES)
def test_deltas_added_to_the_weights_give_the_attached_model(size: str) -> None:
    model = tiny_model(size)
    layers = _layers(model)
    _stirred(layers)
    layers.attach()
    attached = model(**_inputs()).logits
    layers.detach()
    with torch.no_grad():
        for weight, update in layers.deltas():
            assert weight.shape == update.shape
            weight += update
    torch.testing.assert_close(model(**_inputs()).logits, attached, atol=1e-4, rtol=0)


def test_an_experts_update_is_scaled_product_of_its_own_factors() -> None:
    model = tiny_model("26B-A4B")
    layers = _layers(model, "experts", rank=3, alpha=12)
    _stirred(layers)
    factors = layers.parameters()
    updates = dict(zip(layers.weights, (update for _, update in layers.deltas()), strict=True))
    name = "model.language_model.layers.2.experts.down_proj"
    first, second = factors[f"{name}.lora_A"], factors[f"{name}.lora_B"]
    for expert in (0, 7, 127):
        a = first[expert * 3 : (expert + 1) * 3]
        b = torch.stack([second[:, rank * 128 + expert] for rank in range(3)], 1)
        torch.testing.assert_close(updates[name][expert], 4.0 * (b @ a))


def test_gradients_reach_every_factor_of_text_targets_and_nothing_else() -> None:
    for size in SIZES:
        model = tiny_model(size)
        names = [name for name in available_targets(model) if name not in ("vision", "audio")]
        layers = _layers(model, names)
        _stirred(layers)
        layers.attach()
        with layers.trainable() as factors:
            trained = {id(factor) for factor in factors}
            loss = model(**_inputs()).logits.float().log_softmax(-1)[..., 5].mean()
            torch.autograd.backward(loss)
            assert all(factor.grad is not None and factor.grad.abs().max() > 0 for factor in factors), size
            others = [p for p in model.parameters() if id(p) not in trained]
            assert all(parameter.grad is None for parameter in others)
        layers.detach()
        assert all(parameter.requires_grad and parameter.grad is None for parameter in model.parameters())


def test_the_first_factor_follows_the_seed_and_not_the_global_state() -> None:
    model = tiny_model("31B")
    torch.manual_seed(3)
    state = torch.random.get_rng_state()
    one = _layers(model, seed=5).parameters()
    assert torch.equal(torch.random.get_rng_state(), state)
    torch.manual_seed(4)
    two, other = _layers(model, seed=5).parameters(), _layers(model, seed=6).parameters()
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert any(not torch.equal(one[name], other[name]) for name in one)


def test_layers_with_hooks_are_not_exchanged() -> None:
    model = tiny_model("31B")
    layers = _layers(model, "attention")
    handle = model.model.language_model.layers[0].self_attn.o_proj.register_forward_hook(lambda *_: None)
    with pytest.raises(LabError, match="o_proj"):
        layers.attach()
    handle.remove()
    layers.attach()
    assert layers.attached


def test_factors_are_float32_on_a_model_in_bfloat16() -> None:
    model = tiny_model("26B-A4B").to(torch.bfloat16)
    layers = _layers(model)
    assert {factor.dtype for factor in layers.parameters().values()} == {torch.float32}
    _stirred(layers)
    layers.attach()
    assert model(**_inputs()).logits.dtype == torch.bfloat16

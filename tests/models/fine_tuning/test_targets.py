"""Targets of all five shapes, against the true configurations."""

from __future__ import annotations

import pytest
import torch
from support.shapes import SIZES, tiny_model

import gemma_lab as gl
from gemma_lab.errors import LabError
from gemma_lab.models.fine_tuning.targets import (
    TARGETS,
    available_targets,
    resolve_targets,
    target_of,
    targets_of_weights,
)

_HAS = {
    "E2B": {"attention", "mlp", "vision", "audio"},
    "E4B": {"attention", "mlp", "vision", "audio"},
    "12B": {"attention", "mlp", "vision", "audio"},
    "26B-A4B": {"attention", "mlp", "experts", "router", "vision"},
    "31B": {"attention", "mlp", "vision"},
}


@pytest.mark.parametrize("size", SIZES)
def test_the_real_models_have_the_expected_targets(size: str) -> None:
    model = gl.meta_model(size)
    config = model.config.get_text_config()
    found = available_targets(model)
    assert set(found) == _HAS[size]
    shared = config.num_kv_shared_layers
    full = sum(kind == "full_attention" for kind in config.layer_types)
    layers = config.num_hidden_layers
    # q and o in every layer; k where keys are made; v where they are made and differ from the keys
    values = layers - shared - (full if config.attention_k_eq_v else 0)
    assert len(found["attention"].modules) == 2 * layers + (layers - shared) + values
    assert len(found["mlp"].modules) == 3 * layers
    if "experts" in found:
        assert len(found["experts"].parameters) == 2 * layers
        assert {shape[0] for shape in found["experts"].shapes.values()} == {128}


@pytest.mark.parametrize("size", SIZES)
def test_every_linear_layer_of_the_towers_is_a_target_of_its_own_kind(size: str) -> None:
    model = tiny_model(size)
    found = available_targets(model)
    for tower, target in (("vision", "vision"), ("audio", "audio")):
        linear = {
            name
            for name, module in model.named_modules()
            if isinstance(module, torch.nn.Linear) and f"{tower}" in name and "relative_k_proj" not in name
        }
        assert set(found[target].modules if target in found else ()) == linear
    assert all(target_of(name) == target for target in found for name in found[target].shapes)


def test_adapter_parameters_count_both_factors() -> None:
    model = tiny_model("26B-A4B")
    targets = resolve_targets(model, ["experts", "attention"])
    assert targets.names == ("attention", "experts")
    expected = 0
    for name, parameter in model.named_parameters():
        weight = name.removesuffix(".weight")
        if weight in targets.shapes:
            experts = parameter.shape[0] if parameter.ndim == 3 else 1
            expected += 3 * experts * (parameter.shape[-1] + parameter.shape[-2])
    assert targets.adapter_parameters(3) == expected


@pytest.mark.parametrize(
    ("names", "named"),
    [
        ("heads", "heads"),
        (["attention", "experts"], "experts"),
        ([], "no targets"),
        ([3], "3"),
        (None, "None"),
        (7.5, "7.5"),
    ],
)
def test_a_wrong_target_is_refused_with_the_models_own(names: object, named: str) -> None:
    with pytest.raises(LabError) as error:
        resolve_targets(tiny_model("31B"), names, model_name="tiny")
    assert named in error.value.what
    assert all(f"'{target}'" in error.value.hint for target in _HAS["31B"])
    assert "'experts'" not in error.value.hint


def test_weights_that_a_model_lacks_are_named() -> None:
    model = tiny_model("31B")
    with pytest.raises(LabError) as error:
        targets_of_weights(model, ["model.language_model.layers.0.self_attn.w_proj"])
    assert "w_proj" in error.value.what


def test_targets_of_weights_are_complete_only_if_all_are_there() -> None:
    model = tiny_model("31B")
    every = resolve_targets(model, "attention")
    assert targets_of_weights(model, every.modules).complete
    some = targets_of_weights(model, every.modules[:2])
    assert not some.complete
    assert some.names == ("attention",)
    assert set(TARGETS) >= set(some.names)

from __future__ import annotations

import copy
from dataclasses import replace

import pytest
import torch
from support import shapes

from gemma_lab.errors import BadCheckpoint
from gemma_lab.models.loading.checkpoint_files import read_checkpoint
from gemma_lab.models.loading.meta_model import build_meta_model
from gemma_lab.models.loading.verify_weights import check_shapes, require_finite, verify_weights

_CLEAN = {"missing_keys": set(), "mismatched_keys": set(), "unexpected_keys": set(), "error_msgs": []}


@pytest.fixture
def model_and_files(tiny_folder):
    return shapes.tiny_model("26B-A4B"), read_checkpoint(tiny_folder("26B-A4B"))


def test_the_same_weights_pass_and_a_tied_head_is_not_missed(model_and_files):
    model, files = model_and_files
    verify_weights(model, _CLEAN | {"missing_keys": {"lm_head.weight"}}, files)


@pytest.mark.parametrize(
    ("info", "says"),
    [
        (
            {"missing_keys": {"a.weight", "b.weight"}},
            r"2 weights are missing and would stay random: a\.weight, b",
        ),
        ({"missing_keys": {"x"}}, "1 weight is missing"),
        ({"unexpected_keys": {"extra"}}, "has no place in the model: extra"),
        ({"mismatched_keys": {("w", (2, 3), (4, 3))}}, r"w \(2, 3\) for \(4, 3\)"),
        ({"error_msgs": ["boom"]}, "boom"),
    ],
)
def test_what_transformers_reports_is_refused(model_and_files, info, says):
    model, files = model_and_files
    with pytest.raises(BadCheckpoint, match=says):
        verify_weights(model, _CLEAN | info, files)


@pytest.mark.parametrize(
    "name", ["layers.2.experts.gate_up_proj", "layers.0.router.per_expert_scale", "layers.5.layer_scalar"]
)
def test_what_transformers_does_not_report_is_caught_too(model_and_files, name):
    model, files = model_and_files
    held = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    with torch.no_grad():
        held[f"model.language_model.{name}"].normal_()
    with pytest.raises(BadCheckpoint, match=name):
        verify_weights(model, _CLEAN, files)


def test_a_weight_that_was_never_loaded(model_and_files):
    model, files = model_and_files
    model.model.language_model.norm.to("meta")
    with pytest.raises(BadCheckpoint, match=r"norm\.weight was never loaded"):
        verify_weights(model, _CLEAN, files)


@pytest.mark.parametrize("size", shapes.SIZES)
def test_shapes_are_compared_before_loading(tiny_folder, size):
    files = read_checkpoint(tiny_folder(size))
    check_shapes(build_meta_model(files.config, files.config["architectures"][0], name=size), files)
    wider = copy.deepcopy(files.config)
    wider["text_config"]["vocab_size"] = 600
    with pytest.raises(BadCheckpoint, match="vocab_size = 600"):
        check_shapes(
            build_meta_model(wider, wider["architectures"][0], name=size), replace(files, config=wider)
        )


@pytest.mark.parametrize(("index", "value"), [(0, float("nan")), (-1, float("inf")), (4097, -float("inf"))])
def test_weights_that_are_not_finite_are_named(index, value):
    model = shapes.tiny_model("31B")
    require_finite(model, "m", every_value=True)
    weight = model.model.language_model.embed_tokens.weight
    with torch.no_grad():
        weight.view(-1)[index] = value
    with pytest.raises(BadCheckpoint, match=r"embed_tokens\.weight"):
        require_finite(model, "m", every_value=True)


def test_an_infinite_limit_of_a_clipped_layer_is_no_fault():
    model = shapes.tiny_model("E2B")
    assert any(buffer.isinf().any() for buffer in model.buffers()), "else this tests nothing"
    require_finite(model, "m", every_value=True)

from __future__ import annotations

import importlib.util
import sys

import pytest
import transformers

from gemma_lab.errors import BadCheckpoint, MissingExtra, NotGemma4, TooOld
from gemma_lab.family.catalog import catalog, find
from gemma_lab.models.loading.model_classes import CLASSES, require_gemma4, require_loadable


@pytest.mark.parametrize("kind", CLASSES)
def test_gemma_4_has_a_class_in_transformers(kind):
    assert hasattr(transformers, require_gemma4({"model_type": kind}, name="x"))


@pytest.mark.parametrize(
    ("config", "says"),
    [
        ({"model_type": "llama", "architectures": ["LlamaForCausalLM"]}, r"'llama' \(LlamaForCausalLM\)"),
        ({"model_type": "gemma3"}, "'gemma3'"),
        ({}, "None"),
        ({"model_type": ["gemma4"][0] + "_assistant"}, "drafter"),
        ({"model_type": "gemma4_unified_assistant"}, "drafter"),
        ({"model_type": "diffusion_gemma"}, "DiffusionGemma"),
        ({"model_type": "embedding_gemma2"}, "EmbeddingGemma"),
    ],
)
def test_others_are_named_for_what_they_are(config, says):
    with pytest.raises(NotGemma4, match=says):
        require_gemma4(config, name="some/model")


def test_quantised_weights():
    config = {"model_type": "gemma4", "quantization_config": {"quant_method": "gptq"}}
    with pytest.raises(BadCheckpoint, match="gptq"):
        require_gemma4(config, name="x")


def test_transformers_too_old(monkeypatch):
    monkeypatch.setattr(sys.modules["transformers"], "__version__", "5.14.1")
    with pytest.raises(TooOld, match=r"needs transformers 5\.15 or newer; 5\.14\.1 is installed"):
        require_gemma4({"model_type": "gemma4"}, name="x")


@pytest.mark.parametrize("version", ["5.15.0", "5.15.0.dev0", "6.0"])
def test_transformers_new_enough(monkeypatch, version):
    monkeypatch.setattr(sys.modules["transformers"], "__version__", version)
    assert require_gemma4({"model_type": "gemma4"}, name="x")


def test_the_catalogs_minimum_counts(monkeypatch):
    monkeypatch.setattr(sys.modules["transformers"], "__version__", "5.9.0")
    with pytest.raises(TooOld, match=find("12b-it").min_transformers):
        require_gemma4({"model_type": "gemma4_unified"}, name="12b-it", checkpoint=find("12b-it"))


def test_torchvision_is_missing(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingExtra, match="pip install torchvision"):
        require_gemma4({"model_type": "gemma4", "vision_config": {"hidden_size": 8}}, name="x")
    assert require_gemma4({"model_type": "gemma4_text"}, name="x")


@pytest.mark.parametrize("checkpoint", catalog(), ids=lambda checkpoint: checkpoint.alias)
def test_the_catalog_says_what_can_be_loaded(checkpoint):
    reads_packed = importlib.util.find_spec("compressed_tensors") is not None
    if checkpoint.standalone or (checkpoint.format == "compressed-tensors" and reads_packed):
        require_loadable(checkpoint)
    elif checkpoint.format == "compressed-tensors":
        with pytest.raises(MissingExtra):
            require_loadable(checkpoint)
    else:
        with pytest.raises((NotGemma4, BadCheckpoint)):
            require_loadable(checkpoint)

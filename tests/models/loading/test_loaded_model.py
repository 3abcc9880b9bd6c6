"""What a lab says of the model it works on."""

from __future__ import annotations

import pytest
import torch
from support import shapes

import gemma_lab as gl

_MEDIA = {"text", "image", "video"}


@pytest.mark.parametrize("size", shapes.SIZES)
def test_attributes(tiny_lab, size):
    lab = tiny_lab(size)
    assert lab.context == 4096
    assert lab.vocabulary == 512
    assert lab.modalities == (_MEDIA | {"audio"} if size in shapes.HEARS else _MEDIA)
    assert (lab.device, lab.dtype) == (torch.device("cpu"), torch.float32)
    assert lab.config is lab.model.config
    assert lab.tokenizer is lab.processor.tokenizer
    assert lab.parameters == sum({p.data_ptr(): p.numel() for p in lab.model.parameters()}.values())


def test_repr_is_one_stable_line(tiny_lab):
    assert repr(tiny_lab("26B-A4B")) == (
        "Lab(tiny-26B-A4B: 2.7 M parameters, 6 layers, 128 experts top-8, text+image+video, "
        "context 4,096 tokens, float32 on cpu)"
    )
    assert "experts" not in repr(tiny_lab("31B"))


def test_html_escapes_the_name(tiny_lab):
    lab = tiny_lab("31B")
    other = gl.Lab(model=lab.model, processor=lab.processor, name="<script>x</script>")
    page = other._repr_html_()
    assert "<script" not in page
    assert "&lt;script&gt;" in page
    assert "4,096 tokens" in page


def test_text_only(tmp_path):
    lab = gl.load(shapes.tiny_text_checkpoint("E2B", tmp_path / "text"))
    assert lab.modalities == {"text"}
    assert lab.tokenizer is lab.processor
    assert lab.context == 4096


def test_a_tower_without_a_processor_is_no_modality(tiny_lab):
    lab = tiny_lab("31B")
    assert gl.Lab(model=lab.model, processor=lab.tokenizer, name="x").modalities == {"text"}


@pytest.mark.parametrize(
    ("devices", "said"),
    [({"": 0}, "cuda:0"), ({"a": 1, "b": 0, "c": "cpu"}, "cpu+cuda:0+cuda:1"), ({}, "cpu")],
)
def test_every_device_of_a_spread_model_is_named(tiny_lab, monkeypatch, devices, said):
    lab = tiny_lab("31B")
    monkeypatch.setattr(lab.model, "hf_device_map", devices, raising=False)
    assert lab.facts()["placement"] == f"float32 on {said}"
    assert repr(lab).endswith(f"float32 on {said})")

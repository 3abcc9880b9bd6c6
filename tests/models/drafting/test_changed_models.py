"""Drafters of models that were quantised or have an adapter: the same answer as without a drafter."""

from __future__ import annotations

import pytest
from support.drafters import scripted, tiny_drafter

import gemma_lab as gl


def drafter_of(lab, folder):
    tiny_drafter(lab.model).save_pretrained(folder)
    return folder


def same(lab, prompt="a b c d e f", **options):
    """Raise unless the answers with a drafter, loaded and scripted, are the one without."""
    loaded, lab.drafter = lab.drafter, None
    plain = lab.chat(prompt, temperature=0, max_new_tokens=24, **options)
    for drafter in (loaded, scripted(lab, plain, wrong=4)):
        lab.drafter = drafter
        drafted = lab.chat(prompt, temperature=0, max_new_tokens=24, **options)
        assert [token.id for token in drafted.tokens] == [token.id for token in plain.tokens]
    assert drafted.acceptance.accepted > 0
    return plain


@pytest.mark.parametrize("quantization", ["int8", "int4"])
def test_a_quantised_model_drafts(tiny_folder, tiny_lab, tmp_path, quantization):
    folder = drafter_of(tiny_lab("26B-A4B"), tmp_path / "drafter")
    lab = gl.load(
        tiny_folder("26B-A4B"), device="cpu", dtype="float32", quantization=quantization, drafter=folder
    )
    assert lab.drafter.model.dtype.is_floating_point
    same(lab)


def test_a_model_with_an_adapter_drafts(tiny_folder, tiny_lab, tmp_path):
    pytest.importorskip("peft")
    folder = drafter_of(tiny_lab("26B-A4B"), tmp_path / "drafter")
    lab = gl.load(tiny_folder("26B-A4B"), device="cpu", dtype="float32", drafter=folder)
    base = same(lab)
    lab.fine_tune([("a b", "c c c c")], steps=4, learning_rate=0.05, batch_size=1, progress=False)
    tuned = same(lab)
    assert tuned.logprobs.tolist() != base.logprobs.tolist()
    lab.adapters.unload()
    again = same(lab)
    assert [token.id for token in again.tokens] == [token.id for token in base.tokens]

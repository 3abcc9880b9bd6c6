"""What transformers will remove is not used: no deprecation warning comes from it, in any shape."""

from __future__ import annotations

import logging
import warnings

import numpy as np
import pytest
import transformers
from packaging.version import Version
from PIL import Image
from support import shapes

import gemma_lab as gl
from gemma_lab.trace.run.batch import trace_batch

PICTURE = Image.new("RGB", (96, 96), (200, 30, 40))
SOUND = np.sin(np.arange(16_000) / 20).astype(np.float32), 16_000


@pytest.fixture
def said(monkeypatch):
    """Return what transformers' own loggers are told, each time: some of its warnings are shown once."""
    messages = []
    for name in ("warning", "warning_once", "warning_advice"):
        monkeypatch.setattr(logging.Logger, name, lambda _self, text, *_: messages.append(str(text)))
    return messages


def uses(lab, size):
    """Read, answer, trace and edit, with text and with every medium that a shape takes."""
    for options in ({}, {"images": [PICTURE]}, {"audio": SOUND} if size in shapes.HEARS else {}):
        lab.chat("Hello", max_new_tokens=3, **options)
        lab.trace("Hello", attention=True, logit_lens=True, max_new_tokens=3, **options)
    list(lab.stream("Hello", max_new_tokens=3, temperature=1.0, seed=0))
    lab.next_token("Hello")
    lab.trace("Hello there " * 30, attention=gl.AttentionRequest(towers=True, rows=(-1,)))
    with lab.edit(ablate_heads={0: [0]}):
        lab.trace("Hello", max_new_tokens=2)
    trace_batch(lab, [lab.request(text, max_new_tokens=0, temperature=0) for text in ("a", "b c")])


@pytest.mark.parametrize("size", shapes.SIZES)
def test_no_deprecation_warning(size, tiny_folder, said):
    folder = tiny_folder(size)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        uses(gl.load(folder, device="cpu", dtype="float32"), size)
    outdated = (DeprecationWarning, FutureWarning, PendingDeprecationWarning)
    found = [str(one.message) for one in caught if issubclass(one.category, outdated)]
    found += [text for text in said if "deprecat" in text.lower() or "removed in" in text.lower()]
    kit = [text for text in found if "torch" not in text.lower() or "transformers" in text.lower()]
    assert not kit


def test_the_check_sees_one(tiny_lab, said):
    """The old name of the cache is what 5.24 warns of: the check above would find it."""
    if Version(transformers.__version__) < Version("5.24"):
        pytest.skip("the cache has one name before 5.24")
    import torch

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model = tiny_lab("26B-A4B").model
        with torch.no_grad():
            model(input_ids=torch.arange(30, 40)[None], past_key_values=transformers.DynamicCache())
    texts = [
        str(one.message) for one in caught if issubclass(one.category, FutureWarning | DeprecationWarning)
    ]
    assert any("past_key_values" in text for text in [*texts, *said])

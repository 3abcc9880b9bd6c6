"""The next token's distribution: the one chat records, over the whole vocabulary."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from gemma_lab import Sampling
from gemma_lab.models.chat.next_token import next_token


@pytest.mark.parametrize("images", [(), (Image.new("RGB", (60, 40), "red"),)], ids=["text", "picture"])
def test_it_is_what_chat_records_for_its_first_token(tiny_lab, images):
    lab = tiny_lab("26B-A4B")
    seen = next_token(lab, "Hello", images=images, system="Be brief")
    first = lab.chat("Hello", images=images, system="Be brief", temperature=0, max_new_tokens=1).tokens[0]
    assert seen.logprobs.shape == (lab.vocabulary,)
    assert np.exp(seen.logprobs).sum() == pytest.approx(1, abs=1e-5)
    assert seen.entropy == pytest.approx(first.entropy, abs=1e-4)
    for kit, theirs in zip(seen.top(5), first.top_logprobs, strict=True):
        assert (kit.id, kit.text) == (theirs.id, theirs.text)
        assert kit.logprob == pytest.approx(theirs.logprob, abs=1e-4)


def test_sampling_cuts_and_renormalises(tiny_lab):
    seen = next_token(tiny_lab("E2B"), "Hello")
    cut = seen.probabilities(Sampling(1.0, 1.0, 10))
    assert (cut > 0).sum() == 10
    assert cut.sum() == pytest.approx(1)
    assert seen.probabilities()[cut > 0].min() >= seen.probabilities()[cut == 0].max()
    assert repr(seen).startswith("Distribution(tiny-E2B: 512 tokens, entropy ")
    assert "<table" in seen._repr_html_()

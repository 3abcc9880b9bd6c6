"""Agreement and divergence of lenses, against a computation from traces; intervals over texts."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from support import shapes

import gemma_lab as gl
from gemma_lab.errors import BadLens, LabError
from gemma_lab.evals.lens_comparison import LensComparison
from gemma_lab.lab import Lab
from gemma_lab.models.fine_tuning.encoding import ExampleSet

TEXTS = ["A story of some words.", "It rained all day.", ("What is 7 + 5?", "12")]


@pytest.fixture(scope="module")
def lab():
    found = Lab(model=shapes.tiny_model("E2B"), processor=shapes.tiny_processor("E2B"), name="tiny")
    found.fit_lens(TEXTS[:2], skip=2, progress=False)
    return found


def ids_of(lab, text):
    """A text as it is learned: with the token that ends it."""
    return list(ExampleSet(lab, [text]).examples[0].ids)


def test_it_is_what_traces_say(lab):
    found = gl.evals.compare_lenses(lab, TEXTS[:2], skip=3, progress=False)
    read = [ids_of(lab, text) for text in TEXTS[:2]]
    rows = [range(3, len(ids)) for ids in read]
    assert found.texts.tolist() == [0] * len(rows[0]) + [1] * len(rows[1])
    for kind, name in enumerate(("logit", "jacobian")):
        ranks, last, said = [], [], []
        for ids, positions in zip(read, rows, strict=True):
            asked = gl.LogitLensRequest(list(positions), kind=name)
            lens = lab.trace(ids, raw=True, logit_lens=asked).logit_lens
            ranks.append(lens.rank())
            last.append(lens.target_logprobs[-1, :, 0])
            said.append(lens.target_logprobs[:, :, 0])
        np.testing.assert_array_equal(found.agrees[kind], np.concatenate(ranks, axis=1) == 0)
        # one term of the sum over the vocabulary, and the others cannot be below −1/e each
        term = np.exp(np.concatenate(last)) * (np.concatenate(last) - np.concatenate(said, axis=1))
        assert (found.divergence[kind] >= np.minimum(term, 0) - 1).all()
    assert found.agrees[:, -1].all()
    assert not found.divergence[:, -1].any()
    assert (found.divergence[:, :-1] > 0).any()


def test_divergence_is_that_of_the_distributions(lab):
    found = gl.evals.compare_lenses(lab, TEXTS[:1], skip=3, progress=False)
    ids = ids_of(lab, TEXTS[0])
    with torch.no_grad():
        states = lab.model(
            input_ids=torch.tensor([ids]), use_cache=False, output_hidden_states=True
        ).hidden_states
        decoder, cap = lab.model.get_decoder(), lab.text_config.final_logit_softcapping
        final = lab.model(input_ids=torch.tensor([ids]), use_cache=False).logits[0, 3:].double()
        for kind in (0, 1):
            hidden = states[2][0, 3:]  # after layer 1
            if kind:
                hidden = hidden @ torch.from_numpy(lab.jacobian_lens.matrix(1)).T
            logits = lab.model.lm_head(decoder.norm(hidden)).double()
            said = torch.log_softmax(torch.tanh(logits / cap) * cap, -1)
            expected = torch.nn.functional.kl_div(
                said, torch.log_softmax(final, -1), log_target=True, reduction="none"
            ).sum(-1)
            np.testing.assert_allclose(found.divergence[kind, 1], expected.numpy(), rtol=1e-2, atol=1e-4)


def made(first, second):
    """Two texts of 50 tokens, two layers; the fractions are those of the first layer."""
    texts = np.repeat(np.arange(20), 5)
    agrees = np.ones((2, 2, 100), dtype=bool)
    agrees[0, 0], agrees[1, 0] = np.arange(100) % 10 < first, np.arange(100) % 10 < second
    return LensComparison("m", "x", (0, 1), agrees, (~agrees).astype(np.float32), texts)


def test_a_lens_is_better_where_the_interval_leaves_out_0():
    table = made(2, 8).to_pandas()
    row = table.iloc[0]
    assert (row["logit"], row["jacobian"], row["difference"]) == pytest.approx((0.2, 0.8, 0.6))
    assert row["logit_low"] < 0.2 < row["logit_high"]
    assert made(2, 8).better() == {"logit": [], "jacobian": [0]}
    assert made(2, 8).better("divergence") == {"logit": [], "jacobian": [0]}
    assert made(8, 2).better() == {"logit": [0], "jacobian": []}
    assert made(5, 5).better() == {"logit": [], "jacobian": []}
    assert "Jacobian lens is better at 1" in repr(made(2, 8))
    with pytest.raises(LabError, match="perplexity"):
        made(2, 8).better("perplexity")
    plot = made(2, 8).figure()
    assert "layers [0]" in plot.text
    assert len(plot.figure.axes) == 2
    assert "100 tokens of 20 held-out texts" in plot.figure.get_suptitle()
    assert all(axes.get_ylabel() for axes in plot.figure.axes)
    assert plot.png()[:4] == b"\x89PNG"


def test_it_needs_a_lens_and_text(lab):
    bare = Lab(model=shapes.tiny_model("31B"), processor=shapes.tiny_processor("31B"), name="bare")
    with pytest.raises(BadLens, match="bare"):
        gl.evals.compare_lenses(bare, TEXTS, progress=False)
    with pytest.raises(LabError, match="more than 300 tokens"):
        gl.evals.compare_lenses(lab, TEXTS, skip=300, progress=False)


def test_the_two_halves_of_the_corpus_share_no_question():
    fit, held_out = (gl.evals.lens_corpus(part) for part in ("fit", "held-out"))
    assert len(fit) == len(held_out) == 72
    assert not set(fit) & set(held_out)
    with pytest.raises(LabError, match="'test'"):
        gl.evals.lens_corpus("test")

"""The fit of an SAE on prompts, and training: by independent computation, and repeatable."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from support.moe import hooks
from support.saes import perfect, topk

import gemma_lab as gl
from gemma_lab.errors import BadEdit, DoesNotFit, LabError
from gemma_lab.evals.sparse_autoencoders import train
from gemma_lab.models.chat.messages import conversation
from gemma_lab.models.chat.prompt import prepare
from gemma_lab.models.chat.request import Request

PROMPTS = [
    "One two three four.",
    "A red house.",
    "What is that over there?",
    "No.",
    "Words and words, words.",
]


@pytest.fixture(scope="module")
def lab(tiny_lab):
    return tiny_lab("26B-A4B")


def rows_of(lab, text, layer):
    inputs = prepare(lab, Request(conversation(text))).inputs
    with torch.no_grad():
        states = lab.model(**inputs, use_cache=False, output_hidden_states=True).hidden_states
    return states[layer + 1][0, 1:].double()


def test_the_fit_is_that_of_all_tokens_about_their_mean(lab):
    sae = topk(int(lab.text_config.hidden_size), 1)
    before = hooks(lab.model)
    fit = lab.sae_fit(sae, PROMPTS, progress=False)
    assert hooks(lab.model) == before
    rows = [rows_of(lab, text, 1) for text in PROMPTS]
    every = torch.cat(rows)
    dense = sae.encode(every.float())
    errors = (every - sae.decode(dense, every.float()).double()).square().sum(1)
    total = (every - every.mean(0)).square().sum()
    assert fit.variance_explained == pytest.approx(float(1 - errors.sum() / total), rel=1e-3)
    assert fit.tokens.tolist() == [len(each) for each in rows]
    assert fit.mean_active == pytest.approx(float((dense > 0).sum(1).double().mean()))
    assert fit.dead == pytest.approx(float((~(dense > 0).any(0)).double().mean()))
    low, high = fit.interval
    assert low <= fit.variance_explained <= high
    # the interval is that of drawing whole prompts, mean included
    pick = [0, 0, 2, 3, 3]
    drawn = torch.cat([rows[one] for one in pick])
    weights = np.bincount(pick, minlength=5)[None].astype(float)
    lost = sum(fit.squared_errors[one] for one in pick)
    assert fit._explained(weights)[0] == pytest.approx(
        1 - lost / float((drawn - drawn.mean(0)).square().sum()), rel=1e-3
    )
    assert repr(fit).startswith("SaeFit(variance explained")
    html = fit._repr_html_()
    assert html.index("Variance explained") < html.index("prompts<")
    assert "explained" in fit.figure().text
    assert len(fit.to_pandas()) == 5


def test_one_prompt_has_no_interval(lab):
    fit = lab.sae_fit(perfect(int(lab.text_config.hidden_size), 0), PROMPTS[:1], progress=False)
    assert np.isnan(fit.interval).all()
    assert fit.variance_explained == pytest.approx(1, abs=1e-5)


def test_features_of_a_bad_fit_are_not_interpreted(lab):
    sae = topk(int(lab.text_config.hidden_size), 1, min_variance_explained=0.5)
    fit = lab.sae_fit(sae, PROMPTS, progress=False)
    assert fit.variance_explained < 0
    assert not fit.fits
    with pytest.raises(LabError, match=r"less than 0\.5"):
        fit.top_tokens(0)
    with pytest.raises(LabError, match=r"less than 0\.5"):
        lab.trace(PROMPTS[0], sae=sae).features.at(1)


def test_top_tokens_are_the_largest_activations(lab):
    sae = perfect(int(lab.text_config.hidden_size), 0)
    fit = lab.sae_fit(sae, PROMPTS, progress=False)
    every = torch.cat([rows_of(lab, text, 0) for text in PROMPTS])
    feature = 5
    wanted = np.sort(np.maximum(every[:, feature].numpy(), 0))[::-1]
    found = fit.top_tokens(feature)
    np.testing.assert_allclose(
        [one.activation for one in found], wanted[: len(found)][: (wanted > 0).sum()], rtol=1e-4
    )
    trace = lab.trace(PROMPTS[found[0].prompt], sae=sae)
    assert trace.features.of(feature)[found[0].token] == pytest.approx(found[0].activation, rel=1e-4)
    assert list(found.to_pandas()["text"]) == [one.text for one in found]
    with pytest.raises(LabError, match="feature"):
        fit.top_tokens(10**6)


@pytest.mark.parametrize("prompts", ["one text", [], 5, None, {"a": 1}, {"role": "user", "content": "a"}])
def test_prompts_are_several(lab, prompts):
    with pytest.raises(LabError, match="prompt"):
        lab.sae_fit(perfect(int(lab.text_config.hidden_size), 0), prompts)
    with pytest.raises(LabError, match="prompt"):
        lab.train_sae(prompts, layer=0)


def test_training_explains_more_than_chance_again_and_again(lab):
    width = int(lab.text_config.hidden_size)
    options = {"layer": 1, "features": 128, "k": 8, "steps": 120, "batch_size": 32, "progress": False}
    before = hooks(lab.model)
    sae = lab.train_sae(PROMPTS * 3, seed=3, **options)
    assert hooks(lab.model) == before
    assert not sae.encoder.requires_grad
    assert (sae.width, sae.features, sae.k, sae.layer) == (width, 128, 8, 1)
    again = lab.train_sae(PROMPTS * 3, seed=3, **options)
    other = lab.train_sae(PROMPTS * 3, seed=4, **options)
    assert torch.equal(sae.encoder, again.encoder)
    assert not torch.equal(sae.encoder, other.encoder)
    fit = lab.sae_fit(sae, PROMPTS, progress=False)
    untrained = lab.sae_fit(topk(width, 1, features=128, k=8), PROMPTS, progress=False)
    assert fit.variance_explained > 0.8 > 0 > untrained.variance_explained
    assert sae.training["steps"] == 120
    assert fit.same_weights is True


def test_an_edited_model_trains_no_sae_and_its_fit_says_so(lab):
    options = {"layer": 1, "features": 64, "k": 4, "steps": 2, "progress": False}
    sae = lab.train_sae(PROMPTS, **options)
    plain = lab.sae_fit(sae, PROMPTS, progress=False)
    assert not plain.active_edit
    assert "under" not in repr(plain)
    edit = gl.Edit(ablate_heads={0: [0, 1]})
    with lab.edit(edit):
        with pytest.raises(BadEdit, match="active"):
            lab.train_sae(PROMPTS, **options)
        rows = [rows_of(lab, text, 1) for text in PROMPTS]
        fit = lab.sae_fit(sae, PROMPTS, progress=False)
    assert fit.active_edit == edit
    assert "under Edit(ablate_heads" in repr(fit)
    errors = [
        (each - sae.decode(sae.encode(each), each)).square().sum() for each in map(torch.Tensor.float, rows)
    ]
    np.testing.assert_allclose(fit.squared_errors, np.array([float(each) for each in errors]), rtol=1e-3)
    assert (fit.squared_errors != plain.squared_errors).any()


def test_rows_and_devices_that_are_none(lab):
    sae = topk(8, 0)
    rows = torch.zeros(2, 8)
    for wrong in (np.zeros((2, 8)), [1], None):
        for call in (sae.encode, sae.encoded, lambda w: sae.decode(w, rows), lambda w: sae.decode(rows, w)):
            with pytest.raises(LabError, match="not a tensor"):
                call(wrong)
    with pytest.raises(LabError, match="features"):
        sae.decode(rows[:, :3], rows)
    for device in ("nope", None, [1], torch.float16, "meta"):
        with pytest.raises(LabError, match="cannot be brought"):
            sae.to(device)
    assert sae.to("cpu").device == sae.to(torch.device("cpu")).device == torch.device("cpu")


def test_a_corpus_beyond_the_buffer_is_read_again(lab, monkeypatch):
    monkeypatch.setattr(train, "_ROWS", 40)
    sae = lab.train_sae(PROMPTS, layer=0, features=64, k=4, steps=30, batch_size=16, progress=False)
    assert sae.training["tokens"] > sum(len(rows_of(lab, text, 0)) for text in PROMPTS)


def test_other_weights_are_flagged(lab, tiny_lab, tmp_path):
    sae = lab.train_sae(PROMPTS, layer=0, features=64, k=4, steps=5, progress=False)
    opened = gl.load_sae(sae.save(tmp_path / "sae"), min_variance_explained=-1e9)
    assert lab.trace("Hi", sae=opened).features.same_weights is True
    norm = lab.model.get_decoder().layers[0].input_layernorm.weight
    with torch.no_grad():
        norm[0] += 0.5
    try:
        features = lab.trace("Hi", sae=opened).features
        assert features.same_weights is False
        assert "other weights" in repr(features)
        assert lab.sae_fit(opened, PROMPTS, progress=False).same_weights is False
    finally:
        with torch.no_grad():
            norm[0] -= 0.5


@pytest.mark.parametrize(
    "change",
    [{"layer": 99}, {"layer": 0, "k": 0}, {"layer": 0, "features": 1}, {"layer": 0, "steps": 0},
     {"layer": 0, "learning_rate": 0}, {"layer": 0, "batch_size": True}, {"layer": "0"},
     {"layer": 0, "seed": -1}],
)  # fmt: skip
def test_arguments_out_of_range(lab, change):
    with pytest.raises(LabError):
        lab.train_sae(PROMPTS, **change)


def test_training_that_does_not_fit_says_so(lab):
    with pytest.raises(DoesNotFit, match="features"):
        lab.train_sae(PROMPTS, layer=0, features=10**9)


def test_unknown_options_are_refused(lab):
    with pytest.raises(TypeError, match="no_such"):
        lab.sae_fit(perfect(int(lab.text_config.hidden_size), 0), PROMPTS, no_such=1)

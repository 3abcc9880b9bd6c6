"""SAE features of a trace: by an independent computation, on every shape, without changing the run."""

from __future__ import annotations

import json
import zipfile

import numpy as np
import pytest
import torch
from PIL import Image
from support import shapes
from support.moe import hooks
from support.saes import activations, perfect, topk

import gemma_lab as gl
from gemma_lab.errors import BadTrace, LabError
from gemma_lab.models.chat import prefill_plan
from gemma_lab.models.chat.messages import conversation
from gemma_lab.models.chat.prompt import prepare
from gemma_lab.models.chat.request import Request

TEXT = "A story of some words. " * 3


def stream(lab, layer, images=()):
    """Return the residual stream after a layer, from transformers' own hidden states."""
    inputs = prepare(lab, Request(conversation(TEXT, images=images))).inputs
    with torch.no_grad():
        states = lab.model(**inputs, use_cache=False, output_hidden_states=True).hidden_states
    return states[layer + 1][0].double().numpy()


def tensors_of(sae):
    return {"W_enc": sae.encoder, "b_enc": sae.encoder_bias, "W_dec": sae.decoder, "b_dec": sae.decoder_bias}


@pytest.mark.parametrize("size", shapes.SIZES)
@pytest.mark.parametrize("pieces", [False, True], ids=["whole", "pieces"])
def test_features_are_those_of_the_stream_in_every_layer(tiny_lab, monkeypatch, size, pieces):
    lab = tiny_lab(size)
    stream(lab, 0)  # transformers' own hooks for hidden states stay
    before = hooks(lab.model)
    plain = lab.trace(TEXT, max_new_tokens=3, top_logprobs=4)
    if pieces:
        monkeypatch.setattr(prefill_plan, "SINGLE_PASS_TOKENS", 20)
        monkeypatch.setattr(prefill_plan, "CHUNK_TOKENS", 16)
    layers = int(lab.text_config.num_hidden_layers)
    for layer in (0, layers - 2):  # the last of the states is normed already
        sae = topk(int(lab.text_config.hidden_size), layer)
        trace = lab.trace(TEXT, max_new_tokens=3, top_logprobs=4, sae=sae)
        if not pieces:
            np.testing.assert_array_equal(trace.generation.logprobs, plain.generation.logprobs)
            np.testing.assert_array_equal(trace.generation.ids, plain.generation.ids)
        found, rows = trace.features, stream(lab, layer)
        assert len(found) == len(trace)
        assert found.layer == layer
        wanted = activations(rows, tensors_of(sae), k=4)
        dense = np.zeros(wanted.shape)
        for row in range(len(rows)):
            recorded = found.ids[row] >= 0
            dense[row, found.ids[row][recorded]] = found.activations[row][recorded]
        np.testing.assert_allclose(dense, wanted, atol=2e-3)
        np.testing.assert_array_equal(found.active[: len(rows)], (wanted > 0).sum(axis=1))
        rebuilt = wanted @ sae.decoder.double().numpy() + sae.decoder_bias.double().numpy()
        errors = np.square(rows - rebuilt).sum(axis=1)
        np.testing.assert_allclose(found.squared_errors[: len(rows)], errors, rtol=1e-3)
    assert hooks(lab.model) == before


def test_variance_is_of_tokens_after_bos(tiny_lab):
    lab = tiny_lab("26B-A4B")
    sae = topk(int(lab.text_config.hidden_size), 1)
    found = lab.trace(TEXT, sae=sae).features
    rows = stream(lab, 1)
    assert found.counted.tolist() == [False] + [True] * (len(rows) - 1)
    total = np.square(rows[1:] - rows[1:].mean(axis=0)).sum()
    assert found.total_variance == pytest.approx(total, rel=1e-5)
    assert found.variance_explained == pytest.approx(1 - found.squared_errors[1:].sum() / total, rel=1e-4)
    assert found.variance_explained < 0  # random weights: worse than the mean


@pytest.mark.parametrize("size", shapes.SIZES)
def test_soft_tokens_are_recorded_and_do_not_count(tiny_lab, size):
    lab = tiny_lab(size)
    sae = perfect(int(lab.text_config.hidden_size), 0)
    trace = lab.trace("What is it?", images=[Image.new("RGB", (60, 40), "red")], sae=sae)
    soft = trace.tokens.modalities == "image"
    assert soft.any()
    assert not trace.features.counted[soft].any()
    assert trace.features.counted.sum() == len(trace) - soft.sum() - 1
    assert trace.features.variance_explained == pytest.approx(1, abs=1e-5)
    assert (trace.features.active[soft] > 0).all()


def test_a_file_keeps_features_and_one_without_them_is_as_before(tiny_lab, tmp_path):
    lab = tiny_lab("31B")
    sae = topk(int(lab.text_config.hidden_size), 2, name="my SAE")
    trace = lab.trace(TEXT, max_new_tokens=2, sae=sae)
    again = gl.open_trace(trace.save(tmp_path / "a.trace"))
    assert again.features == trace.features
    assert again.equal(trace)
    assert again.features.sae == "my SAE"
    plain = lab.trace(TEXT, max_new_tokens=2)
    assert not plain.equal(trace)
    with zipfile.ZipFile(plain.save(tmp_path / "b.trace")) as file:
        assert "features" not in json.loads(file.read("manifest.json"))
    table = trace.to_arrow()["features"]
    assert table.num_rows == int((trace.features.ids >= 0).sum())
    assert (tmp_path / "p" / "features.parquet") in trace.to_parquet(tmp_path / "p")


def test_an_altered_file_is_refused(tiny_lab, tmp_path):
    lab = tiny_lab("31B")
    trace = lab.trace(TEXT, sae=topk(int(lab.text_config.hidden_size), 2))
    path = trace.save(tmp_path / "a.trace")
    raw = bytearray(path.read_bytes())
    at = raw.find(trace.features.activations.tobytes()[:16])
    assert at > 0
    raw[at : at + 4] = np.float32(np.nan).tobytes()
    path.write_bytes(bytes(raw))
    with pytest.raises(BadTrace):
        gl.open_trace(path)


def test_an_sae_of_another_model_is_refused_before_the_run(tiny_lab):
    lab = tiny_lab("E2B")
    width = int(lab.text_config.hidden_size)
    with pytest.raises(LabError, match=str(width + 1)):
        lab.trace(TEXT, sae=topk(width + 1, 0))
    with pytest.raises(LabError, match="layer 99"):
        lab.trace(TEXT, sae=topk(width, 99))
    with pytest.raises(LabError, match="sae is"):
        lab.trace(TEXT, sae="owner/saes")
    batch = topk(width, 0)
    with pytest.raises(LabError, match="SAE"):
        batch.encode(torch.zeros(3, width + 2))


def test_an_interrupted_run_keeps_the_features_of_what_was_read(tiny_lab, monkeypatch):
    lab = tiny_lab("E4B")
    monkeypatch.setattr(prefill_plan, "SINGLE_PASS_TOKENS", 20)
    monkeypatch.setattr(prefill_plan, "CHUNK_TOKENS", 16)
    before, calls = hooks(lab.model), []
    layer = lab.model.get_decoder().layers[-1]

    def stop(*_):
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt

    handle = layer.register_forward_hook(stop)
    try:
        with pytest.raises(KeyboardInterrupt):
            lab.trace(TEXT, sae=topk(int(lab.text_config.hidden_size), 0))
    finally:
        handle.remove()
    kept = lab.interrupted_trace
    assert 0 < len(kept) == len(kept.features)
    assert hooks(lab.model) == before

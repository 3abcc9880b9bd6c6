"""A lens reads what its formula says, is kept in files, and is refused on other weights."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.numpy import save_file
from support import shapes
from support.moe import hooks

import gemma_lab as gl
from gemma_lab.errors import BadLens, LabError, NotTraced
from gemma_lab.lab import Lab
from gemma_lab.models.chat.messages import conversation
from gemma_lab.models.chat.prompt import prepare
from gemma_lab.models.chat.request import Request
from gemma_lab.models.loading.weights_digest import same_weights, weights_digest
from gemma_lab.trace.lenses.choose import lens_of

TEXT = "A story of some words. "


def random_lens(lab, *, seed=0, dtype=np.float32):
    layers, width = lab.text_config.num_hidden_layers, lab.text_config.hidden_size
    values = np.random.default_rng(seed).standard_normal((layers, width, width)) / width**0.5
    values[-1] = np.eye(width)
    return gl.JacobianLens(
        model=lab.name, weights=weights_digest(lab.model), layers=tuple(range(layers)),
        jacobians=values.astype(dtype), corpus="none", texts=1, tokens=2, skip=0, max_tokens=8,
        date="2026-01-01",
    )  # fmt: skip


def made(size, seed=0):
    return Lab(
        model=shapes.tiny_model(size, seed=seed), processor=shapes.tiny_processor(size), name=f"tiny {size}"
    )


@pytest.fixture(scope="module", params=shapes.SIZES)
def lab(request):
    found = made(request.param)
    found.jacobian_lens = random_lens(found)
    return found


@pytest.mark.parametrize("images", [(), (Image.new("RGB", (60, 40), "red"),)], ids=["text", "picture"])
def test_every_layer_is_its_output_times_the_matrix_under_norm_head_and_cap(lab, images):
    inputs = prepare(lab, Request(conversation(TEXT, images=images))).inputs
    with torch.no_grad():
        states = lab.model(**inputs, use_cache=False, output_hidden_states=True).hidden_states
    before = hooks(lab.model)  # that call leaves some of its own
    asked = gl.LogitLensRequest([4, -1], targets=(300,), kind="jacobian")
    lens = lab.trace(TEXT, images=images, logit_lens=asked).logit_lens
    assert lens.kind == "jacobian"
    assert hooks(lab.model) == before
    decoder, cap = lab.model.get_decoder(), lab.text_config.final_logit_softcapping
    for layer in lens.layers[:-1]:
        with torch.no_grad():
            hidden = states[layer + 1][0, lens.positions.tolist()]
            moved = hidden @ torch.from_numpy(lab.jacobian_lens.matrix(layer)).T
            logits = torch.tanh(lab.model.lm_head(decoder.norm(moved)) / cap) * cap
        said = torch.log_softmax(logits, -1)
        np.testing.assert_allclose(lens.logprobs[layer], said.topk(5).values.numpy(), atol=1e-4)
        np.testing.assert_allclose(lens.probability(300)[layer], said[:, 300].exp().numpy(), atol=1e-5)


def test_both_lenses_are_the_model_at_the_last_layer_exactly(lab):
    one, other = (lab.trace(TEXT, max_new_tokens=3, logit_lens=kind) for kind in (True, "jacobian"))
    for name in ("ids", "logprobs", "ranks", "target_logprobs"):
        first, second = (getattr(trace.logit_lens, name) for trace in (one, other))
        np.testing.assert_array_equal(first[-1], second[-1])
        assert (first[0] != second[0]).any()
    assert one.generation.ids.tolist() == other.generation.ids.tolist()
    np.testing.assert_array_equal(one.generation.logprobs, other.generation.logprobs)


def test_a_trace_keeps_which_lens_it_was(lab, tmp_path):
    trace = lab.trace(TEXT, logit_lens="jacobian")
    opened = gl.open_trace(trace.save(tmp_path / "a.trace"))
    assert opened.equal(trace)
    assert opened.logit_lens.kind == "jacobian"
    assert opened.meta["jacobian_lens"]["digest"] == lab.jacobian_lens.digest
    assert "jacobian" in repr(opened.logit_lens)
    assert opened.logit_lens != replace(opened.logit_lens, kind="logit")
    plain = lab.trace(TEXT, logit_lens=True)
    assert "jacobian_lens" not in plain.meta
    assert gl.open_trace(plain.save(tmp_path / "b.trace")).logit_lens.kind == "logit"


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_a_lens_is_kept_in_a_file(tmp_path, dtype):
    lens = random_lens(made("E2B"), dtype=dtype)
    opened = gl.JacobianLens.open(lens.save(tmp_path / "a.safetensors"))
    assert opened == lens
    assert hash(opened) == hash(lens)
    assert opened.jacobians.dtype == dtype
    assert opened != replace(lens, tokens=3)
    table = lens.to_pandas()
    assert table["distance"].iloc[-1] == 0
    assert table["effective_rank"].iloc[-1] == pytest.approx(lens.width)
    assert (table["effective_rank"].iloc[:-1] < lens.width).all()


def test_other_files_are_refused(tmp_path):
    lens = random_lens(made("E2B"))
    for nowhere in (tmp_path / "none" / "a.safetensors", tmp_path):
        with pytest.raises(LabError, match="cannot be written"):
            lens.save(nowhere)
    with pytest.raises(BadLens, match="no file"):
        gl.JacobianLens.open(tmp_path / "none.safetensors")
    path = tmp_path / "a.safetensors"
    path.write_bytes(b"\x80\x02pickle")
    with pytest.raises(BadLens, match="cannot be read"):
        gl.JacobianLens.open(path)
    save_file({"jacobians": lens.jacobians}, path)
    with pytest.raises(BadLens, match="not a Jacobian lens"):
        gl.JacobianLens.open(path)
    whole = lens.save(path).read_bytes()
    path.write_bytes(whole[:-4])
    with pytest.raises(BadLens, match="cannot be read"):
        gl.JacobianLens.open(path)
    path.write_bytes(whole.replace(b'"version":"1"', b'"version":"9"'))
    with pytest.raises(BadLens, match="version '9'"):
        gl.JacobianLens.open(path)
    path.write_bytes(whole.replace(b'"texts":"1"', b'"texts":"x"'))
    with pytest.raises(BadLens, match="cannot be read"):
        gl.JacobianLens.open(path)
    for change in ({"layers": (0,)}, {"jacobians": np.full_like(lens.jacobians, np.nan)},
                   {"jacobians": 2 * lens.jacobians}):  # fmt: skip
        with pytest.raises(BadLens):
            replace(lens, **change)
    with pytest.raises(NotTraced, match="no layer 99"):
        lens.matrix(99)


def test_it_is_refused_on_other_weights():
    lab = made("26B-A4B")
    lab.jacobian_lens = random_lens(lab)
    assert lens_of(lab) is lab.jacobian_lens
    lab.adapter = {"name": "mine", "digest": "0"}
    with pytest.raises(BadLens, match="'mine'"):
        lab.trace(TEXT, logit_lens="jacobian")
    lab.adapter = None
    other = made("26B-A4B", seed=1)
    other.jacobian_lens = lab.jacobian_lens
    with pytest.raises(BadLens, match="other weights"):
        other.trace(TEXT, logit_lens="jacobian")
    with torch.no_grad():  # training one matrix is enough, with all norms as they were
        lab.model.get_decoder().layers[1].mlp.up_proj.weight.mul_(1.5)
    with pytest.raises(BadLens, match="other weights"):
        lab.trace(TEXT, logit_lens="jacobian")
    lab.jacobian_lens = "lens.safetensors"
    with pytest.raises(BadLens, match="JacobianLens"):
        lab.trace(TEXT, logit_lens="jacobian")
    lab.jacobian_lens = None
    with pytest.raises(BadLens, match="no Jacobian lens for the weights"):
        lab.trace(TEXT, logit_lens="jacobian")
    with pytest.raises(LabError, match="no lens 'tuned'"):
        gl.LogitLensRequest(kind="tuned")
    with pytest.raises(LabError, match="'tuned'"):
        lab.trace(TEXT, logit_lens="tuned")


def test_a_digest_is_that_of_the_weights_in_any_dtype():
    model = shapes.tiny_model("26B-A4B").to(torch.bfloat16)
    half = weights_digest(model)
    assert weights_digest(model.float()) == half
    assert weights_digest(shapes.tiny_model("26B-A4B", seed=1)) != half
    assert same_weights(half, half | {"matrices": ""})
    assert not same_weights(half, half | {"norms": "0"})


@pytest.mark.parametrize("name", ["mini-moe", "mini-edge"])
def test_the_shipped_lens_is_of_the_shipped_weights(name):
    lab = gl.load(name)
    trace = lab.trace("What is XIV?", max_new_tokens=3, logit_lens="jacobian")
    assert trace.meta["jacobian_lens"]["model"] == name
    assert (trace.logit_lens.rank()[-1] == 0).all()

"""The lens: its last layer is the model itself, on every shape, in pieces, while it writes, at pictures."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image
from support import shapes
from support.moe import hooks, tiny

import gemma_lab as gl
from gemma_lab.errors import BadTrace, LabError
from gemma_lab.models.chat import prefill_plan
from gemma_lab.models.chat.messages import conversation
from gemma_lab.models.chat.prompt import prepare
from gemma_lab.models.chat.request import Request
from gemma_lab.trace.probes.logit_lens import LogitLensProbe
from gemma_lab.trace.probes.recorder import Recorder

RED = Image.new("RGB", (60, 40), "red")
TEXT = "A story of some words. " * 3


def own(lab, images, rows, *, top=5):
    """Return the model's own log-probabilities at some rows, from its own logits."""
    inputs = prepare(lab, Request(conversation(TEXT, images=images))).inputs
    with torch.no_grad():
        logits = lab.model(**inputs, use_cache=False).logits[0, rows]
    return torch.log_softmax(logits.float(), -1).topk(top)


@pytest.mark.parametrize("size", shapes.SIZES)
@pytest.mark.parametrize("images", [(), (RED,)], ids=["text", "picture"])
@pytest.mark.parametrize("pieces", [False, True], ids=["whole", "pieces"])
def test_the_last_layer_says_what_the_model_says(tiny_lab, monkeypatch, size, images, pieces):
    lab = tiny_lab(size)
    before = hooks(lab.model)
    total = len(prepare(lab, Request(conversation(TEXT, images=images))).ids)
    rows = [*range(8, total, 5), total - 1]  # also soft tokens of the picture
    best = own(lab, images, sorted(set(rows)))
    if pieces:
        monkeypatch.setattr(prefill_plan, "SINGLE_PASS_TOKENS", 20)
        monkeypatch.setattr(prefill_plan, "CHUNK_TOKENS", 16)
    trace = lab.trace(TEXT, images=images, logit_lens=rows)
    logit_lens = trace.logit_lens
    assert trace.meta["prefill"]["chunks"] > 3 if pieces else trace.meta["prefill"]["chunks"] == 1
    assert logit_lens.positions.tolist() == sorted(set(rows))
    assert logit_lens.layers == tuple(range(lab.text_config.num_hidden_layers))
    np.testing.assert_allclose(logit_lens.logprobs[-1], best.values.numpy(), atol=1e-5)
    assert (logit_lens.ids[-1] == best.indices.numpy()).mean() > 0.98  # a random model's choices may tie
    assert (logit_lens.rank()[-1] == 0).all()
    np.testing.assert_allclose(logit_lens.probability()[-1], np.exp(best.values[:, 0].numpy()), atol=1e-5)
    assert hooks(lab.model) == before
    if images:
        assert {"image"} <= set(trace.tokens.modalities[logit_lens.positions])


@pytest.mark.parametrize("size", shapes.SIZES)
def test_every_layer_is_its_output_under_norm_head_and_cap(tiny_lab, size):
    lab = tiny_lab(size)
    inputs = prepare(lab, Request(conversation(TEXT))).inputs
    with torch.no_grad():
        states = lab.model(**inputs, use_cache=False, output_hidden_states=True).hidden_states
    logit_lens = lab.trace(TEXT, logit_lens=gl.LogitLensRequest([4, -1], targets=(300,))).logit_lens
    decoder, cap = lab.model.get_decoder(), lab.text_config.final_logit_softcapping
    for layer in logit_lens.layers[:-1]:  # the last of the states is normed already
        with torch.no_grad():
            logits = lab.model.lm_head(decoder.norm(states[layer + 1][0, logit_lens.positions.tolist()]))
        logits = torch.tanh(logits / cap) * cap
        said = torch.log_softmax(logits, -1)
        np.testing.assert_allclose(logit_lens.logprobs[layer], said.topk(5).values.numpy(), atol=1e-5)
        np.testing.assert_allclose(logit_lens.probability(300)[layer], said[:, 300].exp().numpy(), atol=1e-6)
        assert logit_lens.rank(300)[layer].tolist() == [int((row > row[300]).sum()) for row in said]


@pytest.mark.parametrize("size", shapes.SIZES)
@pytest.mark.parametrize("images", [(), (RED,)], ids=["text", "picture"])
def test_what_is_generated_is_what_the_lens_saw_coming(tiny_lab, size, images):
    lab = tiny_lab(size)
    alone = lab.chat(TEXT, images=images, temperature=0, max_new_tokens=6)
    trace = lab.trace(TEXT, images=images, max_new_tokens=6, logit_lens=True)
    assert trace.generation.ids.tolist() == [token.id for token in alone.tokens]
    np.testing.assert_array_equal(trace.generation.logprobs, np.float32(alone.logprobs))
    first = trace.logit_lens.index(alone.prompt_tokens - 1)
    said = trace.logit_lens.logprobs[-1, first : first + 6, 0]
    np.testing.assert_allclose(said, trace.generation.alternative_logprobs[: len(said), 0], atol=1e-5)
    assert trace.logit_lens.positions[-1] == len(trace) - 1


def test_a_lens_is_kept_in_a_file(tiny_lab, tmp_path):
    asked = gl.LogitLensRequest([3, -1], top=3, targets=(300, "z"))
    trace = tiny_lab("26B-A4B").trace(TEXT, max_new_tokens=3, logit_lens=asked)
    opened = gl.open_trace(trace.save(tmp_path / "a.trace"))
    assert opened.logit_lens == trace.logit_lens
    assert opened.equal(trace)
    assert repr(opened.logit_lens) == "LogitLens(6 layers × 2 positions, top 3, 2 targets)"
    plain = tiny_lab("26B-A4B").trace(TEXT)
    assert gl.open_trace(plain.save(tmp_path / "b.trace")).logit_lens is None


def test_bad_requests_are_told_before_anything_runs(tiny_lab):
    lab = tiny_lab("31B")
    with pytest.raises(LabError, match="9,999"):
        lab.trace(TEXT, logit_lens=[9999])
    with pytest.raises(LabError, match=r"'two words' is \d+ tokens"):
        lab.trace(TEXT, logit_lens=gl.LogitLensRequest([0], targets=("two words",)))
    with pytest.raises(LabError, match="no id of the vocabulary"):
        lab.trace(TEXT, logit_lens=gl.LogitLensRequest([0], targets=(10**6,)))
    with pytest.raises(LabError, match="top=0"):
        gl.LogitLensRequest(top=0)


def test_a_batch_and_a_changed_last_layer_are_refused():
    model = tiny("mixtral")
    ids = torch.arange(1, 13)[None]
    with (
        torch.no_grad(),
        Recorder(model, [LogitLensProbe({3}, name=str)]),
        pytest.raises(BadTrace, match="has 2"),
    ):
        model(ids.expand(2, -1))

    class Late(LogitLensProbe):
        def attach(self, model, hooks):
            super().attach(model, hooks)
            # behind the lens's back: another output than the one it saw
            changed = model.model.layers[-1].register_forward_hook(lambda _m, _a, given: given * 2 + 1)
            hooks.callback(changed.remove)

    with torch.no_grad(), Recorder(model, [Late({11}, name=str)]), pytest.raises(BadTrace, match="is off by"):
        model(ids)
    assert hooks(model) == {}


def test_nothing_read_is_an_error_with_a_hint():
    with pytest.raises(BadTrace, match="None of the positions"):
        LogitLensProbe({3}, name=str).result()

"""The components of a logit sum to it, and each is what taking it out of the sum takes from the logit."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image
from support import shapes
from support.moe import hooks

import gemma_lab as gl
from gemma_lab.errors import BadTrace, LabError
from gemma_lab.lab import Lab
from gemma_lab.trace.probes.model_modules import decoder_of, layers_of

PROMPT = "Hello there. Which one?"


@pytest.fixture(scope="module", params=shapes.SIZES)
def lab(request):
    return Lab(
        model=shapes.tiny_model(request.param), processor=shapes.tiny_processor(request.param), name="tiny"
    )


def logits(lab, prompt=PROMPT):
    ids = torch.tensor([[int(each) for each in lab.trace(prompt).tokens.ids]])
    with torch.no_grad():
        return lab.model(input_ids=ids).logits[0, -1].double()


def test_components_rounding_and_cap_sum_to_the_models_logit(lab):
    own = logits(lab)
    for answer, against in ((None, None), (40, None), (40, 41)):
        split = lab.attribute_logit(PROMPT, answer=answer, against=against)
        expected = own[split.token_id] - (0 if against is None else own[against])
        assert split.logit == pytest.approx(float(expected), abs=1e-5)
        total = sum(each.logit for each in split.components)
        assert total == pytest.approx(split.before_cap, abs=1e-5)
        assert abs(split.rounding) < 1e-5
        assert split.to_pandas()["logit"].sum() == pytest.approx(split.logit, abs=1e-9)
    assert split.cap == 30
    single = lab.attribute_logit(PROMPT, answer=40)
    assert single.logit == pytest.approx(30 * np.tanh(single.before_cap / 30), abs=1e-5)


def test_there_is_one_of_every_component(lab):
    split = lab.attribute_logit(PROMPT)
    shape = lab.architecture
    assert split.token_id == int(logits(lab).argmax())
    kinds = [each.kind for each in split.components]
    assert kinds.count("embedding") == 1
    assert kinds.count("mlp") == len(shape.layers)
    assert kinds.count("head") == sum(layer.heads for layer in shape.layers)
    assert kinds.count("expert") == sum(layer.top_k for layer in shape.layers)
    assert kinds.count("per-layer input") == (len(shape.layers) if shape.ple_width else 0)
    assert np.nansum(split.heads()) == pytest.approx(split.totals()["head"])
    assert split.by_layer("mlp").sum() == pytest.approx(split.totals()["mlp"])
    if shape.experts:
        trace = lab.trace(PROMPT)
        for layer in trace.routing.layers:
            chosen = {each.index for each in split.components if (each.kind, each.layer) == ("expert", layer)}
            assert chosen == set(trace.routing.layer(layer).ids[0, -1].tolist())


def test_the_share_of_a_head_is_what_subtracting_its_output_from_the_stream_takes(lab):
    """Independent: what reaches the last layer's output directly, under the final norm's own scale."""
    split = lab.attribute_logit(PROMPT, answer=40)
    layers, last = layers_of(lab.model), len(layers_of(lab.model)) - 1
    kept = {}
    handles = [
        layers[last].register_forward_hook(lambda _m, _a, out: kept.__setitem__("out", out[0, -1].double())),
        layers[last].self_attn.o_proj.register_forward_pre_hook(
            lambda _m, args: kept.__setitem__("heads", args[0][0, -1].double())
        ),
        layers[last].self_attn.o_proj.register_forward_hook(
            lambda _m, _a, out: kept.__setitem__("attention", out[0, -1].double())
        ),
    ]
    logits(lab)
    for handle in handles:
        handle.remove()
    norm, attention = decoder_of(lab.model).norm, layers[last].self_attn
    after = layers[last].post_attention_layernorm
    scale = (kept["attention"].pow(2).mean() + after.eps).rsqrt() * after.weight.double()
    final = (kept["out"].pow(2).mean() + norm.eps).rsqrt() * norm.weight.double()
    row = lab.model.get_output_embeddings().weight[40].double()
    scalar = float(getattr(layers[last], "layer_scalar", torch.ones(1)))
    width = attention.head_dim
    for head in range(len(kept["heads"]) // width):
        part = slice(head * width, (head + 1) * width)
        vector = attention.o_proj.weight[:, part].double() @ kept["heads"][part]
        expected = float((vector * scale * scalar * final) @ row)
        assert split.heads()[last, head] == pytest.approx(expected, abs=1e-6)


def test_prompts_with_media_and_in_chunks(lab, monkeypatch):
    request = lab.request("Which?", images=[Image.new("RGB", (96, 96), "red")], max_soft_tokens=70)
    whole = lab.attribute_logit(request, answer=40)
    assert abs(whole.rounding) < 1e-5
    monkeypatch.setattr("gemma_lab.models.chat.prefill_plan.SINGLE_PASS_TOKENS", 20)
    monkeypatch.setattr("gemma_lab.models.chat.prefill_plan.CHUNK_TOKENS", 64)
    text = PROMPT * 5
    chunked = lab.attribute_logit(text, answer=40)
    monkeypatch.undo()
    single = lab.attribute_logit(text, answer=40)
    assert chunked.before_cap == pytest.approx(single.before_cap, abs=1e-5)
    np.testing.assert_allclose(chunked.heads(), single.heads(), atol=1e-5)


def test_what_else_writes_to_the_stream_is_not_silently_left_out(lab):
    held = hooks(lab.model)
    clean = lab.activations(PROMPT, layers=[1], positions=[-1])
    other = gl.Activations(clean.layers, clean.positions, clean.values + 1.0, "tiny")
    with lab.edit(patch=other), pytest.raises(BadTrace, match="layer 1"):
        lab.attribute_logit(PROMPT)
    assert hooks(lab.model) == held
    with lab.edit(ablate_heads={0: [1]}):
        split = lab.attribute_logit(PROMPT)
    assert split.heads()[0, 1] == 0


@pytest.mark.parametrize(
    "wrong",
    [
        {"answer": "two tokens"},
        {"answer": 10**9},
        {"answer": 1.5},
        {"against": -1},
        {"answer": "\ud800"},
        {"answer": True},
        {"answer": ""},
    ],
)
def test_what_is_no_token_is_refused(tiny_lab, wrong):
    with pytest.raises(LabError):
        tiny_lab("12B").attribute_logit(PROMPT, **wrong)


def test_other_families_are_refused():
    from support.decoders import DECODERS, tiny_decoder

    name = next(iter(DECODERS))
    made = tiny_decoder(name)
    made = made if isinstance(made, torch.nn.Module) else made[0]
    lab = Lab(model=made, processor=shapes.tiny_tokenizer(), name="other")
    with pytest.raises(LabError, match="family"):
        lab.attribute_logit([1, 2, 3], raw=True)


def test_it_is_shown(tiny_lab):
    split = tiny_lab("26B-A4B").attribute_logit("<script>alert(1)</script>", answer="7", against="3")
    html = split._repr_html_()
    assert "<script" not in html
    assert f"{split.logit:.3f}" in html
    plot = split.figure()
    assert plot.png()
    assert "“7” − “3”" in plot.figure.axes[0].get_title(loc="left")
    assert "soft cap" in str(split)
    assert split.name == "logit of '7' minus '3'"
    with pytest.raises(LabError, match="per-layer"):
        split.by_layer("per-layer input")

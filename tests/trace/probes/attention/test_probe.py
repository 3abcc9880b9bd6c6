"""The attention probe against eager attention: every summary, on every shape, however the model is run."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
import torch
from PIL import Image
from support import shapes
from support.decoders import DECODERS, tiny_decoder
from support.eager import EagerRows, differences
from support.moe import hooks

from gemma_lab.errors import BadTrace, LabError, NotTraced
from gemma_lab.trace.probes.attention import interface
from gemma_lab.trace.probes.attention.probe import AttentionProbe
from gemma_lab.trace.probes.model_modules import attentions
from gemma_lab.trace.probes.recorder import Recorder
from gemma_lab.trace.records.attention import AttentionRequest

ABOUT = 1e-5
REQUEST = AttentionRequest(rows=(0, 7, 33), bins=16)


def probe(request=REQUEST, **given):
    return AttentionProbe(request, precision="full", **given)


def check(model, run, *, real=None, request=REQUEST, **given):
    """Run a model with eager attention and a probe on it, and compare every summary of every sequence."""
    watched = probe(request, **given)
    with EagerRows(model) as eager, torch.no_grad(), Recorder(model, [watched]):
        run(model)
    rows = range(1 if real is None else len(real))
    for row in rows:
        found = watched.result(row)
        for layout in found.layers:
            whole = eager.whole(layout.layer, row=row, real=None if real is None else real[row])
            off = differences(found, layout.layer, whole)
            assert max(off.values()) < ABOUT, (layout, off)
    return watched.result(0)


@cache
def tiny(size):
    return shapes.tiny_model(size)


def ids(count, *, rows=1, seed=0):
    return torch.randint(300, 400, (rows, count), generator=torch.Generator().manual_seed(seed))


@pytest.fixture(scope="module")
def model():
    return tiny("26B-A4B")


@pytest.mark.parametrize("size", shapes.SIZES)
def test_a_prompt_on_every_shape(size):
    model = tiny(size)
    found = check(model, lambda m: m(input_ids=ids(61), logits_to_keep=1, use_cache=False), expected=61)
    kinds = [layout.kind for layout in found.layers]
    assert kinds == ["local" if k == "sliding_attention" else "global"
                     for k in model.config.get_text_config().layer_types]  # fmt: skip
    assert (found.bins, len(found)) == (16, 61)
    shared = found.kv_shared_layers
    if size in ("E2B", "E4B"):
        half = len(kinds) // 2
        assert set(shared) == set(range(half, 2 * half))
        assert {shared[n] for n in shared if kinds[n] == "local"} == {half - 2}
        assert {shared[n] for n in shared if kinds[n] == "global"} == {half - 1}
    else:
        assert shared == {}
        assert [layout.k_eq_v for layout in found.layers] == [kind == "global" for kind in kinds]
        assert {(layout.heads, layout.kv_heads) for layout in found.layers} == {(4, 2), (4, 1)}


@pytest.mark.parametrize("size", shapes.SIZES)
def test_generation_on_every_shape(size):
    check(
        tiny(size), expected=40,
        run=lambda m: m.generate(ids(40), max_new_tokens=12, do_sample=False, eos_token_id=[-1]),
    )  # fmt: skip


@pytest.mark.parametrize("size", ["E2B", "26B-A4B"])
def test_a_prompt_in_pieces(size):
    def run(model):
        cache = None
        for part in ids(90).split(23, dim=1):
            cache = model(
                input_ids=part, past_key_values=cache, use_cache=True, logits_to_keep=1
            ).past_key_values

    check(tiny(size), run, expected=90)


@pytest.mark.parametrize("size", ["E2B", "12B", "26B-A4B"])
@pytest.mark.parametrize("side", ["left", "right"])
def test_a_padded_batch(size, side):
    real = np.ones((3, 40), dtype=bool)
    for row, count in enumerate((13, 0, 22)):
        real[row, :count] = False
        if side == "right":
            real[row] = real[row, ::-1]
    mask = torch.from_numpy(real.copy()).long()
    check(
        tiny(size), real=real, request=AttentionRequest(rows=(3, 11), bins=16),
        run=lambda m: m(input_ids=ids(40, rows=3), attention_mask=mask, use_cache=False),
    )  # fmt: skip


def test_a_padded_batch_goes_on(model):
    real = np.ones((2, 30), dtype=bool)
    real[0, :11] = False
    mask = torch.from_numpy(real.copy()).long()
    check(
        model, real=np.pad(real, ((0, 0), (0, 24)), constant_values=True), request=AttentionRequest(bins=16),
        run=lambda m: m.generate(
            ids(30, rows=2), attention_mask=mask, max_new_tokens=25, do_sample=False, eos_token_id=[-1]
        ),
    )  # fmt: skip


@pytest.mark.parametrize("family", DECODERS)
def test_other_families(family):
    model = tiny_decoder(family)
    prompt = ids(37) % 60 + 1
    found = check(model, lambda m: m(input_ids=prompt, use_cache=False))
    assert [layout.kind for layout in found.layers] == (
        ["local", "local", "global"] if family == "gemma3" else ["global"] * 3
    )
    check(model, lambda m: m.generate(prompt, max_new_tokens=6, do_sample=False))


@pytest.mark.parametrize("size", shapes.SIZES)
@pytest.mark.parametrize("generate", [0, 5])
def test_pictures_look_ahead_in_local_layers_only(tiny_lab, size, generate):
    lab = tiny_lab(size)
    pictures = [Image.new("RGB", (96, 64), colour) for colour in ("red", "blue")]
    prompt = {"prompt": "What is this, and this?", "images": pictures}
    plain = lab.trace(**prompt, max_new_tokens=generate)
    soft = np.flatnonzero(plain.tokens.modalities == "image")
    request = AttentionRequest(rows=(0, int(soft[0]), int(soft[-1]), len(plain) - 1), bins=24)
    with EagerRows(lab.model) as eager:
        trace = lab.trace(**prompt, max_new_tokens=generate, attention=request, precision="full")
    found = trace.attention
    for layout in found.layers:
        whole = eager.whole(layout.layer)
        off = differences(found, layout.layer, whole)
        assert max(off.values()) < ABOUT, (layout, off)
        both_ways = bool(np.triu(whole, 1).sum() > 0)
        assert (found.band_extent(layout.layer)[1] > 0) == both_ways
        if size != "12B":  # outside of generate() its class shows a picture all of itself, in every layer
            assert both_ways == (layout.kind == "local" and size not in ("E2B", "E4B"))
            assert layout.window is None or not np.tril(whole, -layout.window).any()
        masses = found.mass_by_label(layout.layer)
        for label, mass in masses.items():
            of, _, name = label.partition(":")
            column = trace.tokens.modalities if of == "modality" else trace.tokens.roles
            wanted = whole[:, :, column == ("" if name == "none" else name)].sum(-1)
            np.testing.assert_allclose(mass, wanted, atol=ABOUT)
        assert {"modality:image", "role:user"} <= set(masses)


@pytest.mark.parametrize("size", shapes.SIZES)
def test_tracing_changes_no_bit(tiny_lab, size):
    lab = tiny_lab(size)
    before = hooks(lab.model)
    asked = {"prompt": "A word. " * 9, "images": [Image.new("RGB", (60, 40), "red")]}
    alone = lab.chat(**asked, temperature=0, max_new_tokens=8)
    trace = lab.trace(**asked, max_new_tokens=8, attention=AttentionRequest(towers=True))
    assert trace.generation.ids.tolist() == [token.id for token in alone.tokens]
    np.testing.assert_array_equal(trace.generation.logprobs, np.float32(alone.logprobs))
    assert hooks(lab.model) == before
    assert all(m.config._attn_implementation == "sdpa" for m in attentions(lab.model).values())
    assert len(trace.attention) == len(trace)


def test_sdpa_rows_are_those_of_eager_attention_to_rounding(model):
    prompt = ids(61)
    with EagerRows(model) as eager, torch.no_grad():
        model(input_ids=prompt, use_cache=False)
    watched = probe()
    with torch.no_grad(), Recorder(model, [watched]):
        model(input_ids=prompt, use_cache=False)
    for layer in range(6):
        assert max(differences(watched.result(), layer, eager.whole(layer)).values()) < 1e-3


def test_only_what_was_asked_for_is_kept(model):
    asked = AttentionRequest(layers=[5, 2], heads=[3, 1], rows=(9,), top_k=0, pooled=False, statistics=False)
    watched, whole = probe(asked), probe()
    with torch.no_grad(), Recorder(model, [watched, whole]):
        model(input_ids=ids(30), use_cache=False)
    found, every = watched.result(), whole.result()
    assert [layout.layer for layout in found.layers] == [2, 5]
    assert (found.heads, dict(found.bands), dict(found.per_query)) == ((1, 3), {}, {})
    with pytest.raises(NotTraced):
        every.row(2, 9)
    with pytest.raises(LabError, match="statistics=True"):
        found.entropy(2)
    again = probe(AttentionRequest(rows=(9,)))
    with torch.no_grad(), Recorder(model, [again]):
        model(input_ids=ids(30), use_cache=False)
    np.testing.assert_array_equal(found.row(5, 9), again.result().row(5, 9)[[1, 3]])


def test_bins_are_joined_when_a_sequence_outgrows_them(model):
    run = lambda m: m.generate(ids(10), max_new_tokens=60, do_sample=False, eos_token_id=[-1])  # noqa: E731
    found = check(model, run, expected=10, request=AttentionRequest(bins=13))
    assert found.bins <= 13
    assert found.bin_edges[1] == 8  # 1, 2, 4, 8: as often as it took


@pytest.mark.parametrize("bad", [AttentionRequest(layers=[9]), AttentionRequest(heads=[4])])
def test_layers_and_heads_that_are_not_there(model, bad):
    with pytest.raises(LabError), torch.no_grad(), Recorder(model, [probe(bad)]):
        model(input_ids=ids(5), use_cache=False)
    assert all(m.config._attn_implementation == "sdpa" for m in attentions(model).values())


def test_rows_that_are_not_the_layers_own_are_refused(model):
    module = attentions(model)[1]
    scaling = module.scaling
    watched = probe()

    shown = interface._show
    try:  # layer 1 is shown with other queries than it used, as if it had a cap or a sink
        interface._show = lambda seat, m, q, *rest: shown(seat, m, q * (2 if seat.layer == 1 else 1), *rest)
        wrong = pytest.raises(BadTrace, match="layer 1 the rows give an output")
        with wrong, torch.no_grad(), Recorder(model, [watched]):
            model(input_ids=ids(20), use_cache=False)
    finally:
        interface._show = shown
    assert module.scaling == scaling


def test_numbers_that_are_none_are_refused(model):
    def broken(_module, _args, output):
        return output * float("nan")

    hook = attentions(model)[2].q_proj.register_forward_hook(broken)
    try:
        with pytest.raises(BadTrace), torch.no_grad(), Recorder(model, [probe()]):
            model(input_ids=ids(20), use_cache=False)
    finally:
        hook.remove()


def test_a_pass_that_breaks_off_is_left_out(model):
    watched, once = probe(), probe()
    last = model.model.language_model.layers[-1]

    def stop(*_):
        raise KeyboardInterrupt

    with torch.no_grad(), Recorder(model, [watched]):
        done = model(input_ids=ids(20), use_cache=True)
        hook = last.register_forward_hook(stop)
        with pytest.raises(KeyboardInterrupt):
            model(input_ids=ids(7, seed=1), past_key_values=done.past_key_values, use_cache=True)
        hook.remove()
    with torch.no_grad(), Recorder(model, [once]):
        model(input_ids=ids(20), use_cache=True)
    assert watched.result().equal(once.result())


def test_a_cache_that_was_filled_before_is_refused(model):
    with torch.no_grad():
        done = model(input_ids=ids(20), use_cache=True)
        with pytest.raises(BadTrace, match="20 positions"), Recorder(model, [probe()]):
            model(input_ids=ids(3), past_key_values=done.past_key_values, use_cache=True)


def test_bfloat16_and_compact_numbers():
    model = shapes.tiny_model("E2B").to(torch.bfloat16)
    watched = AttentionProbe(AttentionRequest())
    with torch.no_grad(), Recorder(model, [watched]):
        model(input_ids=ids(50), use_cache=False)
    found = watched.result()
    assert found.per_query["entropy"].dtype == found.per_query["first_token_mass"].dtype == np.float16
    assert found.per_query["weights"].dtype == np.float32
    assert repr(found) == "Attention(10 layers × 4 heads, 50 tokens, 50 bins, top 8)"

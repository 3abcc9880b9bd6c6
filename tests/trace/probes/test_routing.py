"""What the probe records is what the model dispatches: every id, every weight, in every way of running it."""

from __future__ import annotations

import gc
from pathlib import Path

import numpy as np
import pytest
import torch
from support.moe import NEIGHBOURS, tiny

from gemma_lab.errors import BadTrace
from gemma_lab.trace.probes.recorder import Recorder
from gemma_lab.trace.probes.routers import routers
from gemma_lab.trace.probes.routing import RoutingProbe


class Witness:
    """Keeps what the experts modules are really given, apart from the probe."""

    def __init__(self, model):
        self.found = routers(model)
        self.given = {router.layer: [] for router in self.found}
        self.handles = [
            router.experts_module.register_forward_pre_hook(self._hook(router.layer), with_kwargs=True)
            for router in self.found
        ]

    def _hook(self, layer):
        def hook(_module, args, kwargs):
            ids = args[1] if len(args) > 1 else kwargs["top_k_index"]
            weights = args[2] if len(args) > 2 else kwargs["top_k_weights"]
            self.given[layer].append((ids.clone(), weights.clone()))

        return hook

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for handle in self.handles:
            handle.remove()

    def ids(self):
        return np.stack([torch.cat([ids for ids, _ in rows]).numpy() for rows in self.given.values()])

    def weights(self):
        return np.stack([torch.cat([w for _, w in rows]).float().numpy() for rows in self.given.values()])


def recorded(model, run, **options):
    probe = RoutingProbe(precision="full", **options)
    with torch.no_grad(), Witness(model) as witness, Recorder(model, [probe]):
        run(model)
    return probe, witness


@pytest.fixture
def gemma(tiny_lab):
    return tiny_lab("26B-A4B").model


IDS = torch.arange(121, 141).reshape(1, 20)


@pytest.mark.parametrize("way", ["eager", "batched_mm", "grouped_mm"])
def test_every_id_and_weight_is_what_the_experts_are_given(gemma, way):
    before = gemma.config.get_text_config()._experts_implementation
    gemma.set_experts_implementation(way)
    try:
        probe, witness = recorded(gemma, lambda model: model(input_ids=IDS))
    finally:
        gemma.set_experts_implementation(before)
    routing = probe.result()
    assert np.array_equal(routing.ids, witness.ids())
    assert np.array_equal(routing.weights, witness.weights())
    assert routing.layers == tuple(range(gemma.config.get_text_config().num_hidden_layers))


def test_entropy_and_the_experts_share_are_those_of_the_layer(gemma):
    seen = {}
    layer = gemma.model.language_model.layers[1]
    handles = [
        getattr(layer, name).register_forward_hook(lambda _m, _a, out, n=name: seen.update({n: out}))
        for name in ("post_feedforward_layernorm_1", "post_feedforward_layernorm_2", "router")
    ]
    probe, _ = recorded(gemma, lambda model: model(input_ids=IDS))
    for handle in handles:
        handle.remove()
    p = seen["router"][0].double()
    np.testing.assert_allclose(probe.result().layer(1).entropy[0], (-p * p.log()).sum(-1).numpy(), atol=1e-5)
    dense, experts = (seen[f"post_feedforward_layernorm_{n}"].norm(dim=-1)[0].numpy() for n in (1, 2))
    np.testing.assert_allclose(
        probe.result().layer(1).expert_output_fraction[0], experts / (dense + experts), atol=1e-5
    )


@pytest.mark.parametrize("family", NEIGHBOURS)
def test_the_neighbours_go_through_the_same_probe(family):
    model = tiny(family)
    ids = torch.arange(1, 17).reshape(1, 16)
    asked = {"input_ids": ids, "max_new_tokens": 4, "do_sample": False, "eos_token_id": [-1]}
    plain = model(ids).logits, model.generate(**asked)
    found = []
    probe, witness = recorded(model, lambda m: found.extend((m(ids).logits, m.generate(**asked))))
    assert all(torch.equal(*pair) for pair in zip(found, plain, strict=True))
    routing = probe.result()
    assert len(routing) == 16 + 16 + 3
    assert np.array_equal(routing.ids, witness.ids())
    assert np.array_equal(routing.weights, witness.weights())
    assert (routing.expert_output_fraction == 1).all() == (family != "qwen3_5_moe")


@pytest.mark.parametrize("family", [*NEIGHBOURS, "gemma4"])
def test_half_precision_is_within_what_half_precision_can_say(family, tiny_folder):
    import gemma_lab as gl

    gemma4 = family == "gemma4"
    model = (
        gl.load(tiny_folder("26B-A4B"), dtype="bfloat16").model if gemma4 else tiny(family).to(torch.bfloat16)
    )
    ids = IDS if gemma4 else torch.arange(1, 17).reshape(1, 16)
    probe, witness = recorded(model, lambda m: m(input_ids=ids))
    assert np.array_equal(probe.result().ids, witness.ids())
    np.testing.assert_allclose(probe.result().weights, witness.weights(), rtol=1e-6)


def test_the_shared_expert_of_qwen_is_the_dense_branch():
    model = tiny("qwen3_5_moe")
    block = model.model.layers[1].mlp
    seen = {}
    handles = [
        getattr(block, name).register_forward_hook(lambda _m, _a, out, n=name: seen.update({n: out}))
        for name in ("experts", "shared_expert", "shared_expert_gate")
    ]
    handles.append(block.register_forward_hook(lambda _m, _a, out: seen.update(sum=out)))
    probe, _ = recorded(model, lambda m: m(torch.arange(1, 17).reshape(1, 16)))
    for handle in handles:
        handle.remove()
    dense = seen["shared_expert_gate"].sigmoid() * seen["shared_expert"]
    torch.testing.assert_close(seen["experts"] + dense, seen["sum"][0])  # the formula is the block's own
    experts, dense = (part.norm(dim=-1).numpy() for part in (seen["experts"], dense))
    np.testing.assert_allclose(
        probe.result().layer(1).expert_output_fraction[0], experts / (experts + dense), atol=1e-5
    )


def test_chunks_and_decode_steps_add_up_to_the_whole(gemma):
    def chunks(model):
        cache = None
        for part in (IDS[:, :7], IDS[:, 7:19], IDS[:, 19:]):
            cache = model(input_ids=part, past_key_values=cache, use_cache=True).past_key_values

    whole, _ = recorded(gemma, lambda model: model(input_ids=IDS))
    parts, witness = recorded(gemma, chunks)
    assert np.array_equal(parts.result().ids, witness.ids())
    assert np.array_equal(parts.result().ids, whole.result().ids)
    np.testing.assert_allclose(parts.result().weights, whole.result().weights, atol=1e-5)


def test_generate_records_all_but_the_token_that_nobody_reads(gemma):
    probe, witness = recorded(
        gemma,
        lambda model: model.generate(input_ids=IDS, max_new_tokens=5, do_sample=False, eos_token_id=[-1]),
    )
    assert len(probe.result()) == 20 + 4
    assert np.array_equal(probe.result().ids, witness.ids())


def test_generate_reads_a_long_prompt_in_chunks(gemma):
    asked = {"input_ids": IDS, "max_new_tokens": 4, "do_sample": False, "eos_token_id": [-1]}
    probe, witness = recorded(gemma, lambda model: model.generate(**asked, prefill_chunk_size=8))
    assert np.array_equal(probe.result().ids, witness.ids())
    assert len(probe.result()) == 23
    assert len(witness.given[0]) > 4  # really in chunks


@pytest.mark.parametrize("cache", ["dynamic", "static"])
def test_a_padded_batch_generates_and_each_sequence_is_its_own(gemma, cache):
    ids = torch.cat([IDS, IDS], 0).clone()
    mask = torch.ones_like(ids)
    ids[1, :14], mask[1, :14] = 0, 0
    asked = {"max_new_tokens": 4, "do_sample": False, "eos_token_id": [-1], "cache_implementation": cache}
    if cache == "dynamic":
        del asked["cache_implementation"]
    with torch.no_grad():
        plain = gemma.generate(input_ids=ids, attention_mask=mask, **asked)
    answers = []
    probe, witness = recorded(
        gemma, lambda model: answers.append(model.generate(input_ids=ids, attention_mask=mask, **asked))
    )
    assert torch.equal(answers[0], plain)
    for row, (start, count) in enumerate([(0, 20), (14, 6)]):
        steps = [chosen.reshape(2, -1, chosen.shape[-1])[row] for chosen, _ in witness.given[1]]
        assert len(probe.result(row)) == count + 3, [len(step) for step in steps]
        assert (
            probe.result(row).layer(1).ids[0].tolist() == torch.cat([steps[0][start:], *steps[1:]]).tolist()
        )


@pytest.mark.parametrize("side", ["left", "right"])
def test_padding_is_left_out_of_a_batch(gemma, side):
    short, pad = IDS[0, :6], torch.zeros(14, dtype=torch.long)
    row = torch.cat([pad, short] if side == "left" else [short, pad])
    ids, mask = torch.stack([IDS[0], row]), torch.ones(2, 20, dtype=torch.long)
    mask[1] = torch.cat(
        [torch.zeros(14), torch.ones(6)] if side == "left" else [torch.ones(6), torch.zeros(14)]
    )
    batch, _ = recorded(gemma, lambda model: model(input_ids=ids, attention_mask=mask))
    alone, _ = recorded(gemma, lambda model: model(input_ids=IDS))
    few, _ = recorded(gemma, lambda model: model(input_ids=short[None]))
    assert (len(batch.result(0)), len(batch.result(1))) == (20, 6)
    assert np.array_equal(batch.result(0).ids, alone.result().ids)
    assert (batch.result(1).ids == few.result().ids).mean() > 0.99  # positions differ by the padding's side


def test_compact_takes_28_bytes_and_keeps_the_weights_to_a_step():
    import gemma_lab as gl

    model = gl.load("mini-moe", progress=False).model
    full, small = RoutingProbe(precision="full"), RoutingProbe()
    with torch.no_grad(), Recorder(model, [full, small]):
        model(input_ids=torch.arange(400, 440)[None])
    assert small.result().bytes_per_token_layer == 28
    assert np.array_equal(full.result().ids, small.result().ids)
    assert np.abs(full.result().gate_weights - small.result().gate_weights).max() <= 0.5 / 65535 + 1e-6


def test_past_the_limit_it_goes_to_a_file_that_ends_with_the_routing(gemma):
    def long(model):
        for _ in range(6):
            model(input_ids=IDS)

    held, _ = recorded(gemma, long)
    spilled = recorded(gemma, long, spill_bytes=2_000)[0]
    assert isinstance(spilled.result().ids, np.memmap)
    routing = spilled.result()
    assert routing == held.result()
    folder = Path(routing.keepalive.name)
    assert sum(file.stat().st_size for file in folder.iterdir()) == routing.nbytes
    del spilled
    assert folder.exists()  # the routing alone holds it
    del routing
    gc.collect()
    assert not folder.exists()


def test_a_dispatch_that_is_changed_on_its_way_is_refused(gemma):
    experts = gemma.model.language_model.layers[0].experts
    handle = experts.register_forward_pre_hook(lambda _m, args: (args[0], args[1].flip(-1), args[2]))
    try:
        with pytest.raises(BadTrace, match="given other ids or weights than their router"):
            recorded(gemma, lambda model: model(input_ids=IDS))
    finally:
        handle.remove()


def test_weights_that_are_not_the_rules_are_refused(gemma):
    router = gemma.model.language_model.layers[1].router
    handle = router.register_forward_hook(lambda _m, _a, out: (out[0], out[1] * 1.01, out[2]))
    try:
        with pytest.raises(BadTrace, match=r"layer 1 weighs its experts up to 0\.0\d+ off the rule"):
            recorded(gemma, lambda model: model(input_ids=IDS))
    finally:
        handle.remove()


def test_an_overflow_is_told_as_one(gemma):
    router = gemma.model.language_model.layers[1].router
    handle = router.norm.register_forward_hook(lambda _m, _a, out: out * torch.nan)
    try:
        with pytest.raises(BadTrace, match=r"nan off a sum of 1(.|\n)*overflowed"):
            recorded(gemma, lambda model: model(input_ids=IDS))
    finally:
        handle.remove()


def test_a_layer_that_is_passed_over_is_missed(gemma, monkeypatch):
    layer = gemma.model.language_model.layers[1]
    monkeypatch.setattr(layer, "forward", lambda hidden, *_a, **_k: hidden)
    with pytest.raises(BadTrace, match="Layer 1 routed 0 tokens of a pass of 20"):
        recorded(gemma, lambda model: model(input_ids=IDS))


def test_a_choice_that_is_not_the_likeliest_is_refused(gemma):
    router = gemma.model.language_model.layers[0].router

    def worst(_module, _args, output):
        p, _, ids = output
        least = p.topk(ids.shape[-1], largest=False).indices
        gate_weights = p.gather(-1, least)
        return p, gate_weights / gate_weights.sum(-1, keepdim=True) * router.per_expert_scale[least], least

    handle = router.register_forward_hook(worst)
    try:
        with pytest.raises(BadTrace, match="did not choose its"):
            recorded(gemma, lambda model: model(input_ids=IDS))
    finally:
        handle.remove()


def test_a_dense_model_has_no_routing(tiny_lab):
    probe = RoutingProbe()
    model = tiny_lab("31B").model
    with torch.no_grad(), Recorder(model, [probe]):
        model(input_ids=IDS)
    assert probe.result() is None


def test_nothing_recorded_is_said():
    model = tiny("mixtral")
    probe = RoutingProbe()
    with Recorder(model, [probe]):
        pass
    with pytest.raises(BadTrace, match="Nothing was recorded"):
        probe.result()

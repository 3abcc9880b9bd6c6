"""Finding routers, and reading and writing what they return, by each family's own rule."""

from __future__ import annotations

import pytest
import torch
from support.moe import NEIGHBOURS, tiny

from gemma_lab.errors import BadTrace, LabError
from gemma_lab.trace.probes.routers import are_probabilities, routers

EXPECTED = {
    "mixtral": (6, 2, True), "olmoe": (12, 3, False), "gpt_oss": (8, 2, True), "qwen3_5_moe": (10, 4, True),
}  # fmt: skip


def outputs(model, found, ids=None):
    """What each router returned and what its experts were given, in one forward."""
    said, given = {}, {}
    handles = []
    for router in found:
        handles.append(
            router.module.register_forward_hook(lambda _m, _a, out, n=router.layer: said.update({n: out}))
        )
        handles.append(
            router.experts_module.register_forward_pre_hook(
                lambda _m, args, n=router.layer: given.update({n: args})
            )
        )
    with torch.no_grad():
        model(torch.arange(1, 21).reshape(2, 10) if ids is None else ids)
    for handle in handles:
        handle.remove()
    return said, given


@pytest.mark.parametrize("family", NEIGHBOURS)
def test_the_neighbours_are_found_and_their_rule_is_known(family):
    model = tiny(family)
    found = routers(model)
    assert [router.layer for router in found] == [0, 1, 2]
    assert {(r.experts, r.top_k, r.renormalises) for r in found} == {EXPECTED[family]}
    said, given = outputs(model, found)
    for router in found:
        dispatch = router.read(said[router.layer])
        torch.testing.assert_close(dispatch.probabilities.sum(-1), torch.ones(20))
        again = router.dispatch(dispatch.probabilities, like=dispatch.weights)
        assert torch.equal(again.ids, dispatch.ids)
        torch.testing.assert_close(again.weights, dispatch.weights, rtol=1e-5, atol=1e-6)
        assert torch.equal(given[router.layer][1], dispatch.ids)
        assert torch.equal(given[router.layer][2], dispatch.weights)


def test_gemma_4_weighs_by_its_formula(tiny_lab):
    model = tiny_lab("26B-A4B").model
    found = routers(model)
    assert len(found) == model.config.get_text_config().num_hidden_layers
    router = found[0]
    with torch.no_grad():
        router.module.per_expert_scale.copy_(torch.linspace(0.5, 2, router.experts))
        try:
            hidden = torch.randn(7, model.config.get_text_config().hidden_size)
            dispatch = router.read(router.module(hidden))
            unit = hidden * torch.rsqrt(hidden.pow(2).mean(-1, keepdim=True) + router.module.eps)
            logits = (unit * router.module.scale * hidden.shape[-1] ** -0.5) @ router.module.proj.weight.T
            p = logits.softmax(-1)
            top, ids = p.topk(router.top_k)
            share = top / top.sum(-1, keepdim=True)
            assert torch.equal(dispatch.ids, ids)
            torch.testing.assert_close(dispatch.gate_weights, share, rtol=1e-5, atol=1e-6)
            torch.testing.assert_close(
                dispatch.weights, share * router.module.per_expert_scale[ids], rtol=1e-5, atol=1e-6
            )
        finally:
            router.module.per_expert_scale.fill_(1.0)
    layer = model.model.language_model.layers[0]
    assert router.branches.dense is layer.post_feedforward_layernorm_1
    assert router.branches.experts is layer.post_feedforward_layernorm_2
    assert (router.family, router.branches.gate) == ("Gemma 4", None)


def test_a_scale_of_zero_is_read_without_dividing_by_it(tiny_lab):
    model = tiny_lab("26B-A4B").model
    router = routers(model)[0]
    held = router.module.per_expert_scale.detach().clone()
    with torch.no_grad():
        router.module.per_expert_scale.zero_()
        try:
            said = router.read(router.module(torch.randn(9, model.config.get_text_config().hidden_size)))
        finally:
            router.module.per_expert_scale.copy_(held)
    assert (said.weights == 0).all()
    torch.testing.assert_close(said.gate_weights.sum(-1), torch.ones(9))


def test_a_layer_that_is_offloaded_has_its_scale_too(tiny_lab):
    import copy

    from accelerate import cpu_offload

    model = copy.deepcopy(tiny_lab("26B-A4B").model)
    ids = torch.arange(121, 141)[None]
    with torch.no_grad():
        whole = outputs(model, routers(model), ids)[0]
        cpu_offload(model, execution_device=torch.device("cpu"))
        found = routers(model)
        assert found[0].module.per_expert_scale.is_meta
        said = outputs(model, found, ids)[0]
    for router in found:
        dispatch = router.read(said[router.layer])
        assert torch.equal(dispatch.ids, whole[router.layer][2])
        again = router.weigh(dispatch.probabilities, dispatch.ids)
        torch.testing.assert_close(again.weights, dispatch.weights)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("family", NEIGHBOURS)
def test_what_is_written_is_what_is_read(family, dtype):
    model = tiny(family).to(dtype)
    found = routers(model)
    output = outputs(model, found)[0][1]
    router = found[1]
    odds = torch.rand(20, router.experts).softmax(-1)
    wanted = router.dispatch(odds)
    written = router.write(wanted, output)
    assert [part.dtype for part in written[1:]] == [part.dtype for part in output[1:]]
    read = router.read(written)
    torch.testing.assert_close(read.probabilities, odds)
    assert torch.equal(read.ids, wanted.ids)
    torch.testing.assert_close(
        read.gate_weights, wanted.gate_weights, rtol=0, atol=1e-5 if dtype == torch.float32 else 4e-3
    )


def test_a_class_that_derives_from_a_known_router_is_one():
    model = tiny("mixtral")
    gate = model.model.layers[0].mlp.gate
    gate.__class__ = type("Mine", (type(gate),), {})
    assert [router.family for router in routers(model)] == ["Mixtral"] * 3


def test_a_router_without_experts_beside_it_is_refused():
    gate = tiny("mixtral").model.layers[0].mlp.gate
    holder = torch.nn.Module()
    holder.gate = gate
    with pytest.raises(LabError, match="is not beside experts"):
        routers(holder)


def test_logits_and_probabilities_are_told_apart_by_looking(tiny_lab):
    model = tiny_lab("26B-A4B").model
    one, other = routers(model)[0], routers(model)[0]  # each finds out for itself, once
    with torch.no_grad():
        p, weights, ids = one.module(torch.randn(5, model.config.get_text_config().hidden_size))
    assert are_probabilities(p)
    assert not are_probabilities(p.log())
    from_logits = other.read((p.log() + 3.0, weights, ids))  # logits are known up to a constant
    torch.testing.assert_close(from_logits.probabilities, p)
    scores, _, _ = other.write(one.read((p, weights, ids)), (p.log(), weights, ids))
    torch.testing.assert_close(scores.softmax(-1), p)


def test_a_dense_model_and_a_changed_router_are_refused(tiny_lab):
    dense = tiny_lab("31B").model
    with pytest.raises(LabError, match="no router that is known"):
        routers(dense)
    router = routers(tiny_lab("26B-A4B").model)[0]
    with pytest.raises(BadTrace, match="did not return scores"):
        router.read((torch.zeros(4, router.experts), torch.zeros(4, router.top_k)))

"""Edits in force: what the experts receive is what the edit says, and afterwards nothing is left of it."""

from __future__ import annotations

import threading
import time
from contextlib import ExitStack, contextmanager

import pytest
import torch
from support import shapes
from support.moe import NEIGHBOURS, hooks, tiny

from gemma_lab import Edit
from gemma_lab.errors import BadEdit, LabError
from gemma_lab.lab import Lab
from gemma_lab.models.loading.restore import ModelLock
from gemma_lab.trace.interventions.apply import EditContext, active_edit, editing
from gemma_lab.trace.probes.recorder import Recorder
from gemma_lab.trace.probes.routers import is_edited, routers
from gemma_lab.trace.probes.routing import RoutingProbe

IDS = torch.arange(30, 70)[None]
LAYER = 3
BOUNDS = {"ablate_experts": {LAYER: range(120)}}


@pytest.fixture(scope="module")
def lab() -> Lab:
    return Lab(model=shapes.tiny_model("26B-A4B"), processor=shapes.tiny_processor("26B-A4B"), name="tiny")


@pytest.fixture(autouse=True)
def nothing_is_left(lab):
    before, held = logits(lab.model), hooks(lab.model)
    yield
    assert torch.equal(logits(lab.model), before)
    assert hooks(lab.model) == held
    assert not any(is_edited(module) for module in lab.model.modules())
    assert active_edit(lab.model) == Edit()
    assert not lab.lock.locked()


def logits(model, ids=IDS):
    with torch.no_grad():
        return model(input_ids=ids).logits


@contextmanager
def given(model, *, layer=LAYER):
    """What the experts of a layer receive, pass by pass: ids and weights."""
    (router,) = [router for router in routers(model) if router.layer == layer]
    seen = []

    def take(_module, args, kwargs):
        assert not kwargs
        seen.append((args[1].clone(), args[2].clone()))

    handle = router.experts_module.register_forward_pre_hook(take, with_kwargs=True)
    try:
        yield seen
    finally:
        handle.remove()


def dispatch(model, edit=None, *, layer=LAYER):
    """The one dispatch of a pass over `IDS`, and the router's own probabilities in that layer."""
    (router,) = [router for router in routers(model) if router.layer == layer]
    said = []
    with ExitStack() as stack:
        hook = router.module.register_forward_hook(lambda _m, _a, output: said.append(output[0].clone()))
        stack.callback(hook.remove)
        if edit is not None:
            stack.enter_context(EditContext(model, edit))
        seen = stack.enter_context(given(model, layer=layer))
        logits(model)
    ((ids, weights),) = seen
    return ids, weights, said[0], router


def by_hand(scores, ids, scale):
    """The family's rule for chosen ids, from scratch."""
    gate_weights = scores.gather(1, ids)
    return gate_weights / gate_weights.sum(1, keepdim=True) * scale[ids]


def test_ablated_experts_are_never_chosen_and_the_next_best_are(lab):
    plain, _, scores, router = dispatch(lab.model)
    gone = plain.flatten().bincount(minlength=128).topk(40).indices
    ids, weights, _, _ = dispatch(lab.model, Edit(ablate_experts={LAYER: gone.tolist()}))
    assert not torch.isin(ids, gone).any()
    rest = scores.clone()
    rest[:, gone] = 0
    assert torch.equal(ids, rest.topk(8).indices)
    torch.testing.assert_close(weights, by_hand(rest, ids, router.scale))


def test_all_but_top_k_can_be_ablated_and_no_more(lab):
    ids, _, _, _ = dispatch(lab.model, Edit(ablate_experts={LAYER: range(120)}))
    assert torch.equal(ids.sort().values, torch.arange(120, 128).expand(40, 8))
    with pytest.raises(BadEdit, match=r"121 of 128 experts of layer 3 .* tiny sends every token to 8"):
        editing(lab, ablate_experts={LAYER: range(121)})


def test_boosts_are_nats_on_the_logit(lab):
    plain, _, scores, router = dispatch(lab.model)
    boost = {1: 2.0, 2: -3.0, 90: 0.5}
    ids, weights, said, _ = dispatch(lab.model, Edit(boost_experts={LAYER: boost}))
    expected = scores.double().log()
    for expert, nats in boost.items():
        expected[:, expert] += nats
    expected = expected.softmax(1)
    assert torch.equal(ids, expected.topk(8).indices)
    assert not torch.equal(ids, plain)
    torch.testing.assert_close(weights, by_hand(expected, ids, router.scale).float())
    assert torch.allclose(said.sum(1), torch.ones(40))


def test_forced_experts_are_always_chosen_with_the_weight_of_the_rule(lab):
    plain, _, scores, router = dispatch(lab.model)
    forced = scores.mean(0).topk(3, largest=False).indices
    ids, weights, _, _ = dispatch(lab.model, Edit(force_experts={LAYER: forced.tolist()}))
    assert (torch.isin(ids, forced).sum(1) == 3).all()
    kept = ids[~torch.isin(ids, forced)].view(40, 5)
    others = scores.clone()
    others[:, forced] = -1
    assert torch.equal(kept, others.topk(5).indices)
    torch.testing.assert_close(weights, by_hand(scores, ids, router.scale))
    gate_weights = weights / router.scale[ids]
    assert (gate_weights[:, :-1] >= gate_weights[:, 1:]).all()
    assert not torch.equal(ids, plain)


def test_eight_forced_experts_are_the_choice(lab):
    ids, _, _, _ = dispatch(lab.model, Edit(force_experts=range(8)))
    assert torch.equal(ids.sort().values, torch.arange(8).expand(40, 8))


def test_ablation_boost_and_force_together(lab):
    edit = Edit(ablate_experts={LAYER: range(64)}, boost_experts={LAYER: {0: 50.0, 70: 50.0}},
                force_experts={LAYER: [100]})  # fmt: skip
    ids, weights, _, _ = dispatch(lab.model, edit)
    assert (ids >= 64).all()
    assert (ids[:, 0] == 70).all()
    assert (ids == 100).any(1).all()
    assert torch.isfinite(weights).all()


def test_experts_without_any_probability_left_still_come_before_ablated_ones(lab):
    """A boost this large leaves every other probability at exactly 0."""
    edit = Edit(ablate_experts={LAYER: range(120)}, boost_experts={LAYER: {127: 1000.0}})
    ids, weights, _, _ = dispatch(lab.model, edit)
    assert torch.equal(ids.sort().values, torch.arange(120, 128).expand(40, 8))
    assert torch.isfinite(weights).all()
    pushed = Edit(ablate_experts={LAYER: range(120)}, boost_experts={LAYER: {0: 1000.0}})
    ids, weights, _, _ = dispatch(lab.model, pushed)
    assert torch.isfinite(weights).all()
    assert (weights > 0).any(1).all()


def test_only_the_named_layer_is_edited(lab):
    edit = Edit(ablate_experts={LAYER: range(60)})
    for layer in (0, 1, 2):
        assert torch.equal(dispatch(lab.model, layer=layer)[0], dispatch(lab.model, edit, layer=layer)[0])
    for router in routers(lab.model):
        ids, _, _, _ = dispatch(lab.model, Edit(ablate_experts=range(60)), layer=router.layer)
        assert (ids >= 60).all()


def test_the_logits_change(lab):
    with editing(lab, **BOUNDS):
        edited = logits(lab.model)
    assert (edited - logits(lab.model)).abs().max() > 1e-6


@pytest.mark.parametrize("implementation", ["eager", "grouped_mm", "batched_mm"])
def test_every_experts_implementation_computes_the_edited_dispatch(lab, implementation):
    edit = Edit(ablate_experts={LAYER: range(60)}, boost_experts={0: {7: 3.0}}, force_experts={1: [9]})
    with EditContext(lab.model, edit):
        reference = logits(lab.model)
    before = lab.model.config.get_text_config()._experts_implementation
    lab.model.set_experts_implementation(implementation)
    try:
        ids, _, _, _ = dispatch(lab.model, edit)
        assert (ids >= 60).all()
        with EditContext(lab.model, edit):
            torch.testing.assert_close(logits(lab.model), reference, rtol=1e-4, atol=1e-4)
    finally:
        lab.model.set_experts_implementation(before)


@pytest.mark.parametrize("implementation", ["eager", "grouped_mm", "batched_mm"])
def test_prefill_and_every_decoded_token_are_edited(lab, implementation):
    before = lab.model.config.get_text_config()._experts_implementation
    lab.model.set_experts_implementation(implementation)
    try:
        with editing(lab, **BOUNDS), given(lab.model) as seen:
            out = lab.model.generate(IDS, max_new_tokens=6, do_sample=False, eos_token_id=None)
    finally:
        lab.model.set_experts_implementation(before)
    assert out.shape == (1, 46)
    assert [len(ids) for ids, _ in seen] == [40, 1, 1, 1, 1, 1]
    assert all((ids >= 120).all() for ids, _ in seen)


@pytest.mark.parametrize("family", NEIGHBOURS)
def test_the_neighbours_are_edited_by_their_own_rule(family):
    model = tiny(family)
    ids = torch.arange(1, 21)[None]
    (router,) = [router for router in routers(model) if router.layer == 1]
    before, held = logits(model, ids), hooks(model)
    raw = []
    hook = router.module.register_forward_hook(lambda _m, _a, output: raw.append(output[0].clone()))
    logits(model, ids)
    hook.remove()
    edit = Edit(ablate_experts={1: [0]}, boost_experts={1: {1: 1.5}}, force_experts={1: [2]})
    probe = RoutingProbe(precision="full")
    with Recorder(model, [probe]), EditContext(model, edit), given(model, layer=1) as seen:
        changed = logits(model, ids)
    ((chosen, weights),) = seen
    expected = raw[0].double()
    expected[:, 1] += 1.5
    expected[:, 0] = -torch.inf
    odds = expected.softmax(1)
    ranked = odds.clone()
    ranked[:, 2] = 2
    assert torch.equal(chosen.sort().values, ranked.topk(router.top_k).indices.sort().values)
    gate_weights = odds.gather(1, chosen)
    if router.renormalises:
        gate_weights = gate_weights / gate_weights.sum(1, keepdim=True)
    torch.testing.assert_close(weights.double(), gate_weights, rtol=1e-5, atol=1e-6)
    assert probe.result().layer(1).ids[0].tolist() == chosen.tolist()
    assert not torch.equal(changed, before)
    assert torch.equal(logits(model, ids), before)
    assert hooks(model) == held


def test_a_padded_batch_is_edited(lab):
    ids = torch.stack([IDS[0], IDS[0].flip(0)])
    mask = torch.ones_like(ids)
    mask[1, :7] = 0
    with editing(lab, **BOUNDS), given(lab.model) as seen, torch.no_grad():
        lab.model(input_ids=ids, attention_mask=mask)
    ((chosen, _),) = seen
    assert chosen.shape == (80, 8)
    assert (chosen >= 120).all()


def test_chat_and_stream_speak_under_the_edit(lab):
    plain = lab.chat("Hi", temperature=0, max_new_tokens=5)
    with editing(lab, ablate_experts=range(120)), given(lab.model) as seen:
        said = lab.chat("Hi", temperature=0, max_new_tokens=5)
        with lab.stream("Hi", temperature=0, max_new_tokens=5) as stream:
            list(stream)
    assert seen
    assert all((ids >= 120).all() for ids, _ in seen)
    assert stream.reply == said
    assert [t.logprob for t in said.tokens] != [t.logprob for t in plain.tokens]
    assert lab.chat("Hi", temperature=0, max_new_tokens=5) == plain


@pytest.mark.parametrize(
    "edit", [Edit(), Edit(boost_experts={LAYER: {17: 0.0}, 1: {3: -0.0}}), Edit(ablate_experts={LAYER: []})]
)
def test_an_edit_that_changes_nothing_leaves_every_bit(lab, edit):
    before, held = logits(lab.model), hooks(lab.model)
    with EditContext(lab.model, edit):
        assert torch.equal(logits(lab.model), before)
        assert hooks(lab.model) == held


def test_tokens_that_an_edit_does_not_touch_keep_every_bit(lab):
    plain, weights, _, _ = dispatch(lab.model)
    unused = sorted(set(range(128)) - set(plain.flatten().tolist()))
    assert unused
    favourite = plain[:, 0].tolist()
    edit = Edit(ablate_experts={LAYER: unused})
    ids, edited, _, _ = dispatch(lab.model, edit)
    assert torch.equal(ids, plain)
    assert torch.equal(edited, weights)
    before = logits(lab.model)
    with EditContext(lab.model, edit):
        assert torch.equal(logits(lab.model), before)
    ids, edited, _, _ = dispatch(lab.model, Edit(force_experts={LAYER: [favourite[0]]}))
    touched = (ids != plain).any(1)
    assert touched.any()
    assert not touched[0]
    assert torch.equal(edited[~touched], weights[~touched])


@pytest.mark.parametrize("order", ["before", "after"])
def test_probes_see_the_edited_dispatch_whenever_they_came(lab, order):
    probe = RoutingProbe(precision="full")
    edit = Edit(ablate_experts={LAYER: range(64)}, boost_experts={LAYER: {70: 2.0}}, force_experts={1: [5]})
    contexts = [Recorder(lab.model, [probe]), EditContext(lab.model, edit)]
    with ExitStack() as stack:
        for context in contexts if order == "before" else contexts[::-1]:
            stack.enter_context(context)
        seen = stack.enter_context(given(lab.model))
        logits(lab.model)
    routing = probe.result()
    assert (routing.layer(LAYER).ids >= 64).all()
    assert (routing.layer(1).ids == 5).any(axis=2).all()
    assert routing.layer(LAYER).ids[0].tolist() == seen[0][0].tolist()
    torch.testing.assert_close(torch.from_numpy(routing.layer(LAYER).weights[0]), seen[0][1])


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit, GeneratorExit])
def test_the_model_is_restored_after(lab, error):
    with pytest.raises(error), editing(lab, **BOUNDS):
        raise error


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_the_model_is_restored_after_an_error_inside_it(lab, error):
    def fail(*_):
        raise error

    handle = lab.model.get_decoder().layers[4].register_forward_pre_hook(fail)
    try:
        with pytest.raises(error), editing(lab, **BOUNDS):
            lab.chat("Hi")
    finally:
        handle.remove()


def test_the_model_is_restored_when_entering_is_interrupted(lab, monkeypatch):
    kind = type(routers(lab.model)[LAYER].module)
    register, count = kind.register_forward_hook, 0

    def interrupted(self, *args, **kwargs):
        nonlocal count
        count += 1
        if count == 3:
            raise KeyboardInterrupt
        return register(self, *args, **kwargs)

    monkeypatch.setattr(kind, "register_forward_hook", interrupted)
    with pytest.raises(KeyboardInterrupt), editing(lab, ablate_experts=[1]):
        pytest.fail("it was not entered")
    assert count == 3
    with editing(lab, ablate_experts=[1]):  # and can be entered again
        pass


def test_nested_edits_are_merged_and_peeled_off_one_by_one(lab):
    outer, inner = Edit(ablate_experts={LAYER: range(60)}), Edit(ablate_experts={LAYER: range(60, 120)})
    with EditContext(lab.model, outer) as first:
        alone = logits(lab.model)
        assert first == active_edit(lab.model) == outer
        with EditContext(lab.model, inner) as both:
            assert both == active_edit(lab.model) == outer | inner
            assert (dispatch(lab.model)[0] >= 120).all()
        assert torch.equal(logits(lab.model), alone)
        with pytest.raises(BadEdit, match="both ablated and forced"), editing(lab, force_experts=[3]):
            pytest.fail("it was not entered")
        with pytest.raises(BadEdit, match="121 of 128"), editing(lab, ablate_experts={LAYER: range(60, 121)}):
            pytest.fail("it was not entered")
        assert torch.equal(logits(lab.model), alone)


def test_an_inner_boost_stands_before_the_outer(lab):
    with editing(lab, boost_experts={LAYER: {5: 9.0}}):
        edited = logits(lab.model)
        with editing(lab, boost_experts={LAYER: {5: 0.0}}):
            restored = logits(lab.model)
        assert torch.equal(logits(lab.model), edited)
    assert torch.equal(restored, logits(lab.model))


def test_blocks_may_end_in_any_order(lab):
    one, two = editing(lab, ablate_experts={LAYER: range(60)}), editing(lab, **BOUNDS)
    one.__enter__()
    two.__enter__()
    one.__exit__(None, None, None)
    assert active_edit(lab.model) == two.edit
    assert (dispatch(lab.model)[0] >= 120).all()
    two.__exit__(None, None, None)


def test_an_editing_can_be_entered_again(lab):
    edit = editing(lab, **BOUNDS)
    with edit:
        once = logits(lab.model)
    with edit:
        assert torch.equal(logits(lab.model), once)
        with pytest.raises(LabError), edit:
            pytest.fail("it was not entered twice")
        assert torch.equal(logits(lab.model), once)


def test_threads_wait_for_each_other(lab):
    order, ready = [], threading.Event()

    def other():
        ready.set()
        with editing(lab, ablate_experts={LAYER: range(60)}):
            order.append(("other", active_edit(lab.model)))

    with editing(lab, **BOUNDS) as mine:
        thread = threading.Thread(target=other)
        thread.start()
        ready.wait(5)
        time.sleep(0.05)
        order.append(("mine", active_edit(lab.model)))
    thread.join(5)
    assert order == [("mine", mine), ("other", Edit(ablate_experts={LAYER: range(60)}))]


def test_a_generation_under_way_ends_under_the_edit_it_began_with(lab, monkeypatch):
    monkeypatch.setattr(lab.model.generation_config, "eos_token_id", [511])
    plain = lab.chat("Hi", temperature=0, max_new_tokens=12)
    stream = lab.stream("Hi", temperature=0, max_new_tokens=12)
    next(stream)
    with editing(lab, ablate_experts=range(120)):
        inside = lab.stream("Hi", temperature=0, max_new_tokens=12)
        next(inside)
    list(stream)
    list(inside)
    assert stream.reply == plain
    with editing(lab, ablate_experts=range(120)):
        assert inside.reply == lab.chat("Hi", temperature=0, max_new_tokens=12)


def test_an_interrupt_while_waiting_to_leave_still_restores(lab):
    edit = editing(lab, **BOUNDS)

    class Busy(ModelLock):
        def take(self, holder, **_):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), edit:
        edit._lock = Busy()


def test_an_interrupt_while_hooks_are_exchanged_still_restores(lab, monkeypatch):
    kind = type(routers(lab.model)[LAYER].module)
    register = kind.register_forward_hook

    def interrupted(self, *args, **kwargs):
        monkeypatch.setattr(kind, "register_forward_hook", register)
        raise KeyboardInterrupt

    outer, inner = editing(lab, ablate_experts={LAYER: range(60)}), editing(lab, **BOUNDS)
    with outer as alone:
        expected = logits(lab.model)
        with pytest.raises(KeyboardInterrupt), inner:
            monkeypatch.setattr(kind, "register_forward_hook", interrupted)
        assert active_edit(lab.model) == alone
        assert torch.equal(logits(lab.model), expected)


def test_an_empty_edit_runs_under_another_threads(lab):
    """`Lab.trace` without an edit, in a thread of a widget, while the cell is inside a block: no deadlock."""
    seen = []

    def other():
        with editing(lab) as applied:
            seen.append(applied)

    with editing(lab, **BOUNDS) as mine:
        thread = threading.Thread(target=other)
        thread.start()
        thread.join(5)
        assert seen == [mine]


def test_it_is_for_models_that_have_what_it_names(lab):
    with pytest.raises(BadEdit, match="Layer 6 of tiny does not exist"):
        editing(lab, boost_experts={6: {1: 1.0}})
    dense = shapes.tiny_model("31B")
    with pytest.raises(BadEdit, match="no experts to edit in dense"):
        EditContext(dense, Edit(ablate_experts=[1]), name="dense")
    with EditContext(dense, Edit()):
        logits(dense)


def test_an_edit_is_reused_and_added_to(lab):
    saved = Edit(ablate_experts={LAYER: range(60)})
    both = editing(lab, saved, ablate_experts={LAYER: range(60, 120)})
    assert both.edit == Edit(**BOUNDS)
    assert repr(lab.edit(saved, force_experts=[99])) == (
        "EditContext(tiny: Edit(ablate_experts: 60 in 1 layer, force_experts: 1 in all layers))"
    )

"""A direction is added to what layers return: exactly, at its tokens, and nothing remains of it."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest
import torch
from support import shapes
from support.moe import hooks

import gemma_lab as gl
from gemma_lab import Direction, Edit, Patch, Steering
from gemma_lab.errors import BadEdit
from gemma_lab.lab import Lab
from gemma_lab.models.chat import prefill_plan
from gemma_lab.models.loading.weights_digest import weights_digest
from gemma_lab.trace.interventions.apply import EditContext, active_edit
from gemma_lab.views.trace.edit import edit_html

TEXT = "A story of some words. " * 3
IDS = torch.arange(30, 60)[None]


@pytest.fixture(scope="module", params=shapes.SIZES)
def lab(request):
    size = request.param
    return Lab(model=shapes.tiny_model(size), processor=shapes.tiny_processor(size), name=f"tiny {size}")


def drawn(lab, layers=(1, 2), *, seed=0, name="drawn", weights=None):
    vectors = np.random.default_rng(seed).standard_normal((len(layers), lab.text_config.hidden_size))
    digests = weights_digest(lab.model) if weights is None else weights
    return Direction(name, "random", tuple(layers), vectors.astype(np.float32), lab.name, digests)


def logits(model, ids=IDS):
    with torch.no_grad():
        return model(input_ids=ids, use_cache=False).logits


def by_hand(model, direction, strength, *, span=slice(None)):
    """The logits with hooks of the test's own."""

    def adding(vector):
        def hook(_module, _args, out):
            moved = out.clone()
            moved[:, span] += strength * torch.from_numpy(np.array(vector))
            return moved

        return hook

    layers = model.get_decoder().layers
    handles = [
        layers[layer].register_forward_hook(adding(vector))
        for layer, vector in zip(direction.layers, direction.vectors, strict=True)
    ]
    try:
        return logits(model)
    finally:
        for handle in handles:
            handle.remove()


@pytest.mark.parametrize("strength", [2.0, -0.5])
def test_it_is_added_after_its_layers_and_taken_away_again(lab, strength):
    direction, plain, before = drawn(lab), logits(lab.model), hooks(lab.model)
    with lab.edit(steer=Steering(direction, strength)):
        torch.testing.assert_close(logits(lab.model), by_hand_inside(lab, direction, strength))
    assert hooks(lab.model) == before
    assert torch.equal(logits(lab.model), plain)
    with lab.edit(steer=Steering(direction, strength, tokens=(5, 9))):
        steered = logits(lab.model)
    expected = by_hand(lab.model, direction, strength, span=slice(5, 9))
    torch.testing.assert_close(steered, expected, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(steered[:, :5], plain[:, :5], rtol=1e-4, atol=1e-4)


def by_hand_inside(lab, direction, strength):
    """`by_hand` without the edit that is active."""
    other = copy.deepcopy(lab.model)
    for module in other.modules():
        module._forward_hooks.clear()
        module._forward_pre_hooks.clear()
    return by_hand(other, direction, strength)


def test_a_strength_of_nothing_changes_no_bit(lab):
    direction = drawn(lab)
    edit = Edit(steer=Steering(direction, -0.0))
    assert not edit
    assert edit.layers == (1, 2)
    plain, reply = logits(lab.model), lab.chat(TEXT, temperature=0, max_new_tokens=5)
    with lab.edit(edit):
        assert not hooks(lab.model)
        assert torch.equal(logits(lab.model), plain)
        again = lab.chat(TEXT, temperature=0, max_new_tokens=5)
    assert [token.logprob for token in again.tokens] == [token.logprob for token in reply.tokens]


def test_chat_stream_trace_and_pieces_are_steered_alike(lab, monkeypatch):
    edit = Edit(steer=Steering(drawn(lab), 3, tokens=(12, None)))
    plain = lab.chat(TEXT, temperature=0, max_new_tokens=5)
    with lab.edit(edit):
        reply = lab.chat(TEXT, temperature=0, max_new_tokens=5)
        stream = lab.stream(TEXT, temperature=0, max_new_tokens=5)
        list(stream)
    trace = lab.trace(TEXT, edit=edit, max_new_tokens=5, logit_lens=True)
    ids = [token.id for token in reply.tokens]
    assert ids == [token.id for token in stream.reply.tokens] == trace.generation.ids.tolist()
    assert list(reply.logprobs) != list(plain.logprobs)
    assert Edit.from_dict(trace.meta["edit"]) == edit
    monkeypatch.setattr(prefill_plan, "SINGLE_PASS_TOKENS", 20)
    monkeypatch.setattr(prefill_plan, "CHUNK_TOKENS", 16)
    pieces = lab.trace(TEXT, edit=edit, max_new_tokens=5)
    assert pieces.meta["prefill"]["chunks"] > 1
    np.testing.assert_allclose(pieces.generation.logprobs, trace.generation.logprobs, atol=1e-3)


def test_activations_show_what_was_added_and_patches_come_first(lab):
    direction = drawn(lab, layers=(1,))
    plain = lab.activations(TEXT, layers=[1], positions=[4, 8])
    steer = Steering(direction, 2)
    with lab.edit(steer=steer):
        steered = lab.activations(TEXT, layers=[1], positions=[4, 8])
    added = np.broadcast_to(2 * direction.vectors[:, None], plain.values.shape)
    np.testing.assert_allclose(steered.values - plain.values, added, atol=1e-3)
    with lab.edit(patch=Patch(plain, positions=[5, 8]), steer=steer):
        both = lab.activations(TEXT, layers=[1], positions=[5, 8])
    np.testing.assert_allclose(both.values, plain.values + added, atol=1e-3)


def test_a_direction_is_the_difference_of_means(lab):
    happy, sad = ["I won!", "What a day, so good."], ["I lost.", "Rain again."]
    found = lab.direction(happy, sad, layers=[2, 0], positions=[-1, -3], name="happy − sad", raw=True)
    assert (found.layers, found.method, found.model) == ((0, 2), "mean difference", lab.name)
    expected = [
        np.mean(
            [
                lab.activations(text, layers=[layer], positions=[-1, -3], raw=True).values[0].mean(axis=0)
                for text in texts
            ],
            axis=0,
        )
        for layer in (0, 2)
        for texts in (happy, sad)
    ]
    np.testing.assert_allclose(found.vectors[0], expected[0] - expected[1], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(found.vectors[1], expected[2] - expected[3], rtol=1e-4, atol=1e-5)
    assert found.weights == weights_digest(lab.model)
    assert lab.direction(happy, sad, raw=True).layers == tuple(range(lab.text_config.num_hidden_layers))
    for prompts in ([], "I won!", {"I won!"}):
        with pytest.raises(BadEdit, match="positive prompts"):
            lab.direction(prompts, sad)
    with pytest.raises(BadEdit, match="length 0"):
        lab.direction(sad, sad, raw=True)


def test_an_expert_direction_is_the_gradient_of_its_router_logit():
    lab = Lab(model=shapes.tiny_model("26B-A4B"), processor=shapes.tiny_processor("26B-A4B"), name="tiny")
    found = lab.expert_direction(3, 17)
    assert (found.layers, found.method) == ((2,), "router logit")
    assert found.norms == pytest.approx([1])
    router = lab.model.get_decoder().layers[3].router
    normed = torch.randn(1, lab.text_config.hidden_size, requires_grad=True)
    scores = router.proj(normed * router.scale * router.scalar_root_size)
    (scores[0, 17] - scores.mean()).backward()
    gradient = normed.grad[0].numpy()
    assert found.vectors[0] @ gradient == pytest.approx(np.linalg.norm(gradient), rel=1e-4)
    plain = lab.trace(TEXT)
    steered = lab.trace(TEXT, edit=Edit(steer=Steering(found, 30)))
    chosen = [(trace.routing.layer(3).ids[0] == 17).any(axis=1).mean() for trace in (plain, steered)]
    assert chosen[0] < 0.5 < chosen[1]
    for layer, expert, what in ((0, 1, "layer 0"), (3, 128, "no expert 128"), (9, 0, "Layer 9")):
        with pytest.raises(BadEdit, match=what):
            lab.expert_direction(layer, expert)
    dense = Lab(model=shapes.tiny_model("31B"), processor=shapes.tiny_processor("31B"), name="dense")
    with pytest.raises(BadEdit, match="dense"):
        dense.expert_direction(1, 0)


def test_other_weights_layers_and_widths_are_refused(lab):
    with pytest.raises(BadEdit, match="other weights"):
        lab.edit(steer=drawn(lab, weights={"norms": "0" * 64, "matrices": "1"}))
    with pytest.raises(BadEdit, match="Layer 99"):
        lab.edit(steer=drawn(lab, layers=(99,)))
    narrow = Direction("narrow", "random", (0,), np.ones((1, 3), np.float32))
    with pytest.raises(BadEdit, match="width 3"):
        lab.edit(steer=narrow)
    with pytest.raises(BadEdit, match="token 900"):
        lab.trace(TEXT, edit=Edit(steer=Steering(drawn(lab), tokens=(900, None))))


@pytest.fixture(scope="module")
def one():
    vectors = np.arange(1, 9, dtype=np.float32).reshape(2, 4)
    return Direction("one", "random", (1, 4), vectors, "m", {"norms": "a"})


def test_edits_are_merged_saved_and_printed(one, tmp_path):
    other = one.random(3)
    edit = Edit(steer=[Steering(one, 2), Steering(other, -1, tokens=(3, 5))])
    assert edit | edit == edit
    merged = edit | Edit(steer=Steering(one, 5))
    assert [part.strength for part in merged.steer] == [5, -1]
    assert len((edit | Edit(steer=Steering(one, 5, tokens=(1, 2)))).steer) == 3
    for again in (Edit.open(edit.save(tmp_path / "a.json")), Edit.from_dict(edit.to_dict()),
                  pickle.loads(pickle.dumps(edit)), copy.deepcopy(edit)):  # fmt: skip
        assert again == edit
        assert hash(again) == hash(edit)
    assert edit != Edit(steer=Steering(one, 2))
    assert repr(Edit(steer=Steering(one, 2))) == (
        "Edit(steer=[Steering(Direction('one', random, m: layers [1, 4]), strength=2)])"
    )
    page = edit_html(Edit(steer=Steering(Direction("<b>", "random", (0,), np.ones((1, 2))), -2)))
    assert "&lt;b&gt;" in page
    assert "−2" in page
    assert edit.layers == (1, 4)
    assert Steering(one, layers=[4]).layers == (4,)


def test_a_random_direction_has_the_same_lengths(one):
    first, again, other = one.random(0), one.random(0), one.random(1)
    assert first == again != other
    np.testing.assert_allclose(first.norms, one.norms, rtol=1e-6)
    assert first.method == "random"
    assert one.at([4]).norms == pytest.approx(one.norms[1:])
    assert one.to_pandas()["layer"].tolist() == [1, 4]
    with pytest.raises(ValueError, match="read-only"):
        one.vectors[0, 0] = 9


@pytest.mark.parametrize(
    "make",
    [
        lambda one: Steering(one, "much"),
        lambda one: Steering(one, float("nan")),
        lambda one: Steering(one, True),
        lambda one: Steering("one"),
        lambda one: Steering(one, layers=[2]),
        lambda one: Steering(one, layers=[]),
        lambda one: Steering(one, tokens=(4, 4)),
        lambda one: Steering(one, tokens=7),
        lambda one: Edit(steer="one"),
        lambda one: Edit(steer=[1]),
        lambda one: Edit.from_dict({"steer": [{"direction": {}, "strength": 1, "tokens": None}]}),
        lambda one: Direction.from_dict(one.to_dict() | {"vectors": "AAAA"}),
        lambda one: Direction.from_dict(one.to_dict() | {"vectors": "?"}),
        lambda one: Direction.from_dict(one.to_dict() | {"name": 3}),
        lambda one: Direction.from_dict(one.to_dict() | {"layers": [4, 1]}),
        lambda one: Direction("x", "random", (0,), np.zeros((1, 2))),
        lambda one: Direction("x", "random", (0,), np.full((1, 2), np.inf)),
        lambda one: Direction("x", "random", (0, 1), np.ones((1, 2))),
        lambda one: Direction("x", "random", (1.5,), np.ones((1, 2))),
        lambda one: Direction("x", "random", (-1,), np.ones((1, 2))),
        lambda one: Direction("x", "random", None, np.ones((1, 2))),
        lambda one: Direction("x", "random", (0,), "vectors"),
        lambda one: Direction("x", "random", (0, 1), [[1, 2], [3]]),
        lambda one: Direction("x", None, (0,), np.ones((1, 2))),
        lambda one: Steering(one, layers=4),
    ],
)
def test_anything_else_is_a_clear_error(one, make):
    with pytest.raises(BadEdit) as caught:
        make(one)
    assert caught.value.hint
    assert "patch" not in str(caught.value).lower()  # it speaks of what was written


def test_layers_and_positions_of_a_direction_are_whole_numbers(lab):
    for wrong in ({"layers": 5}, {"layers": [1.5]}, {"positions": 3}, {"positions": [True]}):
        with pytest.raises(BadEdit):
            lab.direction(["I am glad"], ["I am sad"], **wrong)
    given = lab.direction(["I am glad"], ["I am sad"], layers=iter([2, 1]))
    assert given == lab.direction(["I am glad"], ["I am sad"], layers=np.array([1, 2]))


def test_blocks_are_nested_and_an_error_leaves_nothing(one):
    lab = Lab(model=shapes.tiny_model("31B"), processor=shapes.tiny_processor("31B"), name="tiny")
    plain, first, second = logits(lab.model), drawn(lab), drawn(lab, seed=1, name="second")
    with lab.edit(steer=first), lab.edit(steer=Steering(second, 2)):
        assert len(active_edit(lab.model).steer) == 2
    with pytest.raises(ZeroDivisionError), lab.edit(steer=first):
        1 / 0  # noqa: B018
    assert not hooks(lab.model)
    assert torch.equal(logits(lab.model), plain)
    with EditContext(lab.model, Edit(steer=first)), EditContext(lab.model, Edit(steer=Steering(first, 0))):
        assert torch.equal(logits(lab.model), plain)  # the inner strength is used
    assert gl.Steering is Steering

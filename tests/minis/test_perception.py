"""What perceives is taught before the decoder, with encoders and without."""

from __future__ import annotations

import random

import pytest

from gemma_lab.minis.architecture import mini_config, new_model
from gemma_lab.minis.batches import Batcher
from gemma_lab.minis.dense_from_experts import DenseFromExperts
from gemma_lab.minis.media_inputs import RAW
from gemma_lab.minis.perception import perception
from gemma_lab.minis.skill_mixture import Mixture

_SKILLS = ("digits", "speech", "names")


@pytest.fixture
def free(tokenizer):
    """A new mini without encoders, its teacher, and a batcher."""
    model = new_model(mini_config("mini-unified", len(tokenizer)), seed=0)
    teacher = new_model(mini_config("mini-moe", len(tokenizer)), seed=1).requires_grad_(False)
    return model, teacher, Batcher(tokenizer, random.Random(0), RAW)


def _touched(model):
    """The numbers of the layers that a loss reached, and the other parts of the model."""
    found = set()
    for name, weight in model.named_parameters():
        if weight.grad is not None and bool(weight.grad.abs().sum() > 0):
            parts = name.split(".")
            found.add(int(parts[3]) if parts[2] == "layers" else parts[1])
    return found


def test_with_a_teacher_the_experts_come_first_then_sight_and_hearing_in_turn_then_glances(free):
    model, teacher, _ = free
    one = perception(model, _SKILLS, begun=(), teacher=teacher)
    assert one.step(0.0, 0) == one.work
    turns = [one.step(0.2, number) for number in range(0, 700, 140)]
    assert {one.step(0.2, number) for number in range(140, 280)} == {one.look}
    assert turns == [one.imitate, one.look, one.listen, one.listen, one.imitate]
    later = [one.step(0.5, number) for number in range(16)]
    assert [number for number, step in enumerate(later) if step is not None] == [0, 4, 8, 12]
    assert later[4] == later[12] == one.listen
    alone = perception(model, _SKILLS, begun=(), teacher=None)
    assert alone.step(0.0, 0) == alone.look
    assert perception(model, ("names",), begun=(), teacher=None).step(0.0, 0) is None


def test_lower_layers_that_came_trained_are_refreshed_between_other_steps(free):
    model, _, _ = free
    one = perception(model, _SKILLS, begun=("sight", "hearing"), teacher=None)
    steps = [one.step(0.01, number) for number in range(9)]
    assert [step is not None for step in steps] == [True, False, False] * 3
    assert {steps[0], steps[3], steps[6]} == {one.look, one.listen}


def test_lower_layers_that_perceive_too_little_are_trained_in_turns_until_they_do(free):
    model, _, _ = free
    one = perception(model, _SKILLS, begun=("sight", "hearing"), teacher=None)
    one.losses |= {"sight": 0.7, "hearing": 0.9}
    steps = [one.step(0.01, number) for number in range(320)]
    assert steps == [one.look] * 140 + [None] * 20 + [one.listen] * 140 + [None] * 20
    one.losses["hearing"] = 0.05
    assert {one.step(0.01, number) for number in range(160, 300)} == {one.look}
    one.losses["sight"] = 0.05
    assert [one.step(0.01, number) is not None for number in range(9)] == [True, False, False] * 3


def test_the_vision_encoder_learns_with_the_decoder_from_some_steps_once_the_decoder_sees(tokenizer):
    model = new_model(mini_config("mini-moe", len(tokenizer)), seed=0)
    one, mixture = perception(model, ("scenes",), begun=(), teacher=None), Mixture(("scenes",), rows=1)
    mixture.saw({"scenes": 0.01})
    tower = model.model.vision_tower.encoder.layers[0].mlp.up_proj.linear.weight
    for shows in (True, False):
        one.settle(mixture, shows=shows)
        assert tower.requires_grad == shows
    mixture.losses["scenes"] = 2.0
    one.settle(mixture, shows=True)
    assert not tower.requires_grad


def test_with_digits_in_focus_every_fourth_step_has_large_images(tokenizer):
    model = new_model(mini_config("mini-moe", len(tokenizer)), seed=0)
    one = perception(model, ("digits",), begun=("sight",), teacher=None)
    assert sum(one.step(1.0, number) is not None for number in range(16)) == 2
    one.large = True
    assert [one.step(1.0, number) is not None for number in range(8)] == [True, False, False, False] * 2


@pytest.mark.parametrize("taught", [True, False])
def test_sight_reaches_the_lower_layers_and_the_projection_alone(taught, free):
    model, teacher, batcher = free
    one = perception(model, _SKILLS, begun=(), teacher=teacher if taught else None)
    losses = one.imitate(batcher, 2) if taught else one.look(batcher, 2)
    assert set(losses) == ({"imitation", "text"} if taught else {"sight"})
    assert all(0 < loss < float("inf") for loss in losses.values())
    assert _touched(model) == {0, 1, 2, 3, 4, 5, "embed_vision"} | {"language_model"}
    assert all(weight.grad is None for weight in teacher.parameters())


def test_hearing_reaches_the_lower_layers_and_the_projection_alone(free):
    model, _, batcher = free
    one = perception(model, _SKILLS, begun=(), teacher=None)
    assert 2 < one.listen(batcher)["hearing"] < 8  # chance among 80 words: 4.4
    assert _touched(model) == {0, 1, 2, 3, 4, 5, "embed_audio"} | {"language_model"}


def test_the_work_of_experts_is_taught_to_the_upper_feed_forward_blocks(free):
    model, teacher, batcher = free
    one = perception(model, _SKILLS, begun=(), teacher=teacher)
    one.work(batcher)
    assert _touched(model) == {6, 7, 8, 9, 10, 11}
    grads = {name for name, weight in model.named_parameters() if weight.grad is not None}
    assert {name.split(".")[4] for name in grads} == {"mlp", "pre_feedforward_layernorm"}


def test_a_dense_block_that_does_what_the_experts_do_has_no_loss(free):
    """With experts that add nothing, the dense branch of the teacher is the whole block."""
    model, teacher, batcher = free
    text = teacher.config.text_config
    small = mini_config("mini-unified", len(batcher.encoder.tokenizer))
    small.text_config.intermediate_size = text.intermediate_size
    model = new_model(small, seed=0)
    for mine, theirs in zip(
        model.model.language_model.layers[6:], teacher.model.language_model.layers, strict=True
    ):
        theirs.post_feedforward_layernorm_2.weight.data.zero_()
        theirs.post_feedforward_layernorm_1.weight.data.fill_(0.7)
        mine.mlp.load_state_dict(theirs.mlp.state_dict())
        mine.pre_feedforward_layernorm.load_state_dict(theirs.pre_feedforward_layernorm.state_dict())
    inputs = batcher.batch([batcher.row("names")]).inputs
    taught = DenseFromExperts(model, teacher)
    assert float(taught.loss(inputs)) < 1e-5
    model.model.language_model.layers[8].mlp.down_proj.weight.data.neg_()
    assert float(taught.loss(inputs)) == pytest.approx(2 / 6, abs=1e-4)
    assert not teacher.model.language_model.layers[0].post_feedforward_layernorm._forward_pre_hooks

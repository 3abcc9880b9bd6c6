"""Where a question about a clip has to attend is known, and the loss on it is that of the real attention."""

from __future__ import annotations

import random

import pytest
import torch

from gemma_lab.minis.architecture import ENCODER_FREE, SHAPES, mini_config, new_model
from gemma_lab.minis.attention_guide import AttentionGuide
from gemma_lab.minis.batches import Batcher
from gemma_lab.minis.encoding import SKIP, Row
from gemma_lab.minis.media_inputs import ENCODED, RAW
from gemma_lab.minis.tasks.cells import NEWS
from gemma_lab.minis.tokenizer import token_id


def _attended(name, tokenizer, *, layer=None, window=None):
    """Return a guide, its model, a batch that went through, and the weights of the layer that it guides."""
    batcher = Batcher(tokenizer, random.Random(1), RAW if name in ENCODER_FREE else ENCODED)
    model = new_model(mini_config(name, len(tokenizer)), seed=0)
    model.set_attn_implementation("eager")
    if window:
        model.config.text_config.sliding_window = window
    guide = AttentionGuide(model, layer)
    rows = [batcher.drills.pointed(grid=3) for _ in range(3)] + [batcher.row("names")]
    batch = batcher.batch(rows, grid=3)
    weights = model(**batch.inputs, use_cache=False, output_attentions=True).attentions
    return guide, model, batch, weights[-1 if layer is None else layer]


def _expected(weights, looks):
    right = torch.stack([weights[row, :, at, list(tokens)].sum(-1) for row, at, tokens in looks])
    return -float(right.log().mean(0).max().detach())


@pytest.mark.parametrize("name", SHAPES)
def test_the_loss_is_that_of_the_attention_of_the_last_global_layer(name, tokenizer):
    guide, model, batch, weights = _attended(name, tokenizer)
    assert {row for row, *_ in batch.looks} == {0, 1, 2}
    assert model.config.text_config.layer_types[-1] == "full_attention"
    loss = guide.loss(batch.looks)
    assert float(loss.detach()) == pytest.approx(_expected(weights, batch.looks), rel=1e-3)
    loss.backward()
    assert model.model.language_model.layers[-1].self_attn.q_proj.weight.grad.abs().sum() > 0


@pytest.mark.parametrize("name", SHAPES)
def test_frames_are_compared_by_the_attention_of_a_local_layer(name, tokenizer):
    guide, _, batch, weights = _attended(name, tokenizer, layer=1)
    assert {row for row, *_ in batch.before} == {0, 1, 2}
    loss = float(guide.loss(batch.before).detach())
    assert loss == pytest.approx(_expected(weights, batch.before), rel=1e-3)


def test_what_a_window_hides_is_left_out(tokenizer):
    guide, _, batch, weights = _attended("mini-edge", tokenizer, layer=1, window=8)
    assert float(guide.loss(batch.before)) == 0  # a frame of 9 soft tokens is further away
    near = [(row, at, [*tokens, at]) for row, at, tokens in batch.before]
    expected = _expected(weights, [(row, at, [at]) for row, at, _ in batch.before])
    assert float(guide.loss(near).detach()) == pytest.approx(expected, rel=1e-3)


def test_soft_tokens_are_compared_with_those_of_the_same_place_one_picture_earlier(tokenizer):
    batcher = Batcher(tokenizer, random.Random(4))
    rows = [batcher.row(skill, grid=3, length=900) for skill in ("motion", "compare", "scenes", "names")]
    rows += [batcher.drills.eventful(grid=3), batcher.drills.shown(grid=3)]
    assert len(rows[0].series) > 1
    assert [set(row.series) for row in rows[1:4]] == [{2}, {1}, set()]
    batch = batcher.batch(rows, grid=3)
    assert {row for row, *_ in batch.before} == {0, 1, 4}  # those with more than one picture
    for row, at, (earlier,) in batch.before:
        ids = batch.inputs["input_ids"][row]
        ends = (ids[earlier:at] == token_id("eoi_token")).sum()
        starts = [int((ids[:place] == token_id("boi_token")).nonzero()[-1]) for place in (earlier, at)]
        assert (ends, at - starts[1]) == (1, earlier - starts[0])  # the next picture, at the same place
        assert not (ids[earlier:at] == token_id("bos_token")).any()  # of the same question


def test_what_is_attended_to_tells_the_answer(tokenizer):
    batcher = Batcher(tokenizer, random.Random(0))
    kinds = set()
    for _ in range(40):
        row = batcher.drills.pointed(grid=4)
        (asked,) = [at for at, label in enumerate(row.labels) if label != SKIP]
        ((at, tokens),) = row.looks
        assert at == asked - 1
        answer = tokenizer.decode([row.labels[asked]]).strip()
        timed = answer.isdigit()
        kinds.add(timed)
        if timed:  # the token that ends the frame of that second
            ends = [place for place, token in enumerate(row.ids) if token == token_id("eoi_token")]
            assert tokens == [ends[int(answer)]]
        else:  # soft tokens of what moved
            assert {row.ids[token] for token in tokens} == {token_id("video_token")}
            soft = [place for place, token in enumerate(row.ids) if token == token_id("video_token")]
            assert {row.news[soft.index(token)] for token in tokens} == {NEWS.index("moved")}
    assert kinds == {True, False}


def test_a_row_that_is_appended_attends_to_its_own_tokens():
    row = Row("pointed", [5, 6, 7], [SKIP] * 3)
    row.extend(Row("pointed", [8, 9], [SKIP] * 2, looks=[(1, [0])]))
    assert row.looks == [(4, [3])]


def test_no_look_at_all_gives_a_loss_without_a_forward_pass(tokenizer):
    guide = AttentionGuide(new_model(mini_config("mini-edge", len(tokenizer)), seed=0))
    assert torch.equal(guide.loss([]), torch.zeros(()))

"""Where a question about a clip has to attend is known, and the loss on it is that of the real attention."""

from __future__ import annotations

import math
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


@pytest.mark.parametrize("name", SHAPES)
def test_the_loss_is_that_of_the_attention_of_the_last_global_layer(name, tokenizer):
    media = RAW if name in ENCODER_FREE else ENCODED
    batcher = Batcher(tokenizer, random.Random(1), media)
    model = new_model(mini_config(name, len(tokenizer)), seed=0)
    model.set_attn_implementation("eager")
    guide = AttentionGuide(model)
    rows = [batcher.drills.pointed(grid=3) for _ in range(3)] + [batcher.row("names")]
    batch = batcher.batch(rows, grid=3)
    assert {row for row, *_ in batch.looks} == {0, 1, 2}
    weights = model(**batch.inputs, use_cache=False, output_attentions=True).attentions[-1]
    assert model.config.text_config.layer_types[-1] == "full_attention"
    right = [weights[row, :, at, tokens].sum(-1).max() for row, at, tokens in batch.looks]
    expected = [-math.log(float(one.detach())) for one in right]
    loss = guide.loss(batch.looks)
    assert float(loss.detach()) == pytest.approx(sum(expected) / len(expected), rel=1e-3)
    loss.backward()
    assert model.model.language_model.layers[-1].self_attn.q_proj.weight.grad.abs().sum() > 0


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

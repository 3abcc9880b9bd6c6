"""The probe on what is new in a picture teaches the layers below the global one."""

from __future__ import annotations

import random

import pytest
import torch

from gemma_lab.minis.architecture import ENCODER_FREE, SHAPES, mini_config, new_model
from gemma_lab.minis.batches import Batcher
from gemma_lab.minis.media_inputs import ENCODED, RAW
from gemma_lab.minis.soft_token_probe import SoftTokenProbe
from gemma_lab.minis.tasks.cells import NEWS, UNKNOWN
from gemma_lab.minis.tokenizer import token_id


@pytest.fixture(params=SHAPES)
def watched(request, tokenizer):
    model = new_model(mini_config(request.param, len(tokenizer)), seed=0)
    media = RAW if request.param in ENCODER_FREE else ENCODED
    batcher = Batcher(tokenizer, random.Random(0), media)
    return (
        model,
        SoftTokenProbe(model, len(NEWS)),
        batcher.batch([batcher.row("compare", grid=2) for _ in range(3)], grid=2),
    )


def test_every_soft_token_of_a_picture_has_its_news_and_no_other_token(watched):
    _, _, batch = watched
    soft = batch.inputs["input_ids"] == token_id("image_token")
    assert (batch.news[~soft] == UNKNOWN).all()
    assert (batch.news[soft] != UNKNOWN).any()


def test_the_loss_reaches_the_layers_below_the_last_global_one_with_keys_and_none_above(watched):
    model, watching, batch = watched
    model.model(**batch.inputs, use_cache=False)
    torch.autograd.backward(watching.loss(batch.news))
    last = {6: 4, 10: 3, 12: 10}[model.config.text_config.num_hidden_layers]
    for number, layer in enumerate(model.model.language_model.layers):
        grad = layer.self_attn.q_proj.weight.grad
        assert (grad is not None and bool(grad.abs().sum() > 0)) == (number <= last)


def test_kinds_of_news_weigh_the_same_however_rare_they_are(watched):
    model, watching, batch = watched
    with torch.no_grad():
        hidden = model.model(**batch.inputs, use_cache=False).last_hidden_state
        watching._hidden = torch.zeros_like(hidden)
        watching.probe.bias.copy_(torch.tensor([2.0] + [0.0] * (len(NEWS) - 1)))
        news = torch.full_like(batch.news, UNKNOWN)
        news[0, :9], news[0, 9] = 0, 1
        each = -watching.probe.bias.log_softmax(-1)
        assert torch.isclose(watching.loss(news), (each[0] + each[1]) / 2)


def test_where_nothing_is_known_there_is_no_loss(watched):
    _, watching, batch = watched
    assert watching.loss(torch.full_like(batch.news, UNKNOWN)) == 0

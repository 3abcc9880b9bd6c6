"""Forward pass of a training: what it counts against an independent computation."""

from __future__ import annotations

import contextlib
import random

import pytest
import torch

from gemma_lab.minis.architecture import mini_config, new_model
from gemma_lab.minis.batches import Batcher
from gemma_lab.minis.encoding import SKIP
from gemma_lab.minis.forward_pass import ForwardPass
from gemma_lab.minis.training import Trainer


@pytest.fixture(scope="module")
def batcher(tmp_path_factory):
    trainer = Trainer(tmp_path_factory.mktemp("run"), minutes=1, skills=("names",))
    return Batcher(trainer.tokenizer, random.Random(0))


@pytest.fixture(scope="module", params=["mini-moe", "mini-edge"])
def passes(request, batcher):
    model = new_model(mini_config(request.param, len(batcher.encoder.tokenizer)), seed=0)
    return ForwardPass(model)


@pytest.fixture(scope="module")
def batch(batcher):
    return batcher.batch([batcher.row(skill) for skill in ("names", "recall", "names")])


def test_losses_are_those_that_transformers_computes_of_each_skill(passes, batch):
    with torch.no_grad():
        found = passes.losses(batch)
        assert list(found) == ["names", "recall"]
        for name, loss in found.items():
            labels = batch.labels.clone()
            labels[torch.tensor([skill != name for skill in batch.skills])] = SKIP
            truth = passes.model(**batch.inputs, labels=labels).loss
            assert float(loss) == pytest.approx(float(truth), rel=1e-4)


def test_the_share_that_is_right_is_of_answer_tokens(passes, batch):
    with torch.no_grad():
        said = passes.model(**batch.inputs).logits[:, :-1].argmax(-1)
    wanted = batch.labels[:, 1:] != SKIP
    right = (said == batch.labels[:, 1:])[wanted].float().mean()
    assert passes.share_right(batch) == pytest.approx(float(right), abs=1e-6)


def test_balance_is_one_where_every_expert_gets_as_many_tokens_and_more_otherwise(passes, batch):
    passes.share_right(batch)
    experts = passes.model.config.text_config.num_experts
    if not experts:
        assert (float(passes.balance()), passes.unused_experts()) == (0.0, [])
        return
    assert float(passes.balance()) > 1
    assert len(passes.unused_experts()) == passes.model.config.text_config.num_hidden_layers
    even = torch.full((experts, experts), 1 / experts), torch.arange(experts)[:, None]
    one = torch.eye(experts)[torch.zeros(4, dtype=torch.long)], torch.zeros(4, 1, dtype=torch.long)
    for routed, balance, unused in ((even, 1.0, 0), (one, experts, experts - 1)):
        passes._routed[:] = [routed]
        assert float(passes.balance()) == pytest.approx(balance)
        assert passes.unused_experts() == [unused]


def test_the_window_comes_back_after_an_error(passes):
    text = passes.model.config.text_config
    before = text.sliding_window
    with contextlib.suppress(RuntimeError), passes.window(5):
        assert text.sliding_window == 5
        raise RuntimeError
    assert text.sliding_window == before

"""Sampling: its ranges, and that its distribution is the one transformers draws from."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from transformers import TemperatureLogitsWarper, TopKLogitsWarper, TopPLogitsWarper

from gemma_lab import LabError, Sampling


def test_the_defaults_are_the_model_cards():
    assert Sampling().to_dict() == {"temperature": 1.0, "top_p": 0.95, "top_k": 64}
    assert str(Sampling()) == "temperature 1, top-p 0.95, top-k 64"


def test_greedy_draws_nothing():
    assert not Sampling.greedy().do_sample
    assert str(Sampling.greedy()) == "greedy"
    assert Sampling.greedy().probabilities(np.array([0.0, 2.0, 1.0])).tolist() == [0, 1, 0]


def test_values_can_be_replaced_one_by_one():
    assert Sampling().but(top_k=0, temperature=0.5) == Sampling(0.5, 0.95, 0)
    assert Sampling().but() == Sampling()


@pytest.mark.parametrize(
    "wrong",
    [
        {"temperature": -0.1}, {"temperature": float("nan")}, {"temperature": float("inf")},
        {"temperature": "hot"}, {"top_p": 0.0}, {"top_p": 1.01}, {"top_p": None},
        {"top_k": -1}, {"top_k": 1.5}, {"top_k": True},
    ],
)  # fmt: skip
def test_a_value_out_of_range_is_named(wrong):
    with pytest.raises(LabError, match=next(iter(wrong))) as caught:
        Sampling(**wrong)
    assert caught.value.hint


@pytest.mark.parametrize(
    "sampling",
    [
        Sampling(),
        Sampling(0.3, 0.5, 0),
        Sampling(2.0, 1.0, 7),
        Sampling(1.0, 0.01, 0),
        Sampling(1.7, 0.9, 400),
    ],
)
def test_probabilities_are_those_of_transformers(sampling):
    logits = np.random.default_rng(0).normal(0, 3, 300)
    scores = torch.tensor(logits)[None]
    scores = TemperatureLogitsWarper(sampling.temperature)(None, scores)
    if sampling.top_k:
        scores = TopKLogitsWarper(sampling.top_k)(None, scores)
    if sampling.top_p < 1:
        scores = TopPLogitsWarper(sampling.top_p)(None, scores)
    expected = scores.softmax(-1)[0].numpy()
    kit = sampling.probabilities(logits)
    assert kit.sum() == pytest.approx(1)
    np.testing.assert_allclose(kit, expected, atol=1e-9)

"""Rates of the groups of weights: warm-up, shares, and new probes that learn alone first."""

from __future__ import annotations

import pytest
import torch

from gemma_lab.minis.optimizer import PEAK_RATE, new_optimizer, set_rates


@pytest.fixture
def optimizer():
    model = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.Linear(4000, 2))
    return new_optimizer(model, torch.nn.Linear(3, 2))


def rates(optimizer):
    """(whose weights, share of the rate) -> the rates of these groups."""
    found = {}
    for group in optimizer.param_groups:
        found.setdefault((group["of"], group["share"]), set()).add(group["lr"])
    return found


def test_every_weight_is_in_one_group_and_vectors_do_not_decay(optimizer):
    decays = {}
    for group in optimizer.param_groups:
        for weight in group["params"]:
            assert id(weight) not in decays
            decays[id(weight)] = (weight.ndim, group["weight_decay"])
    assert sorted(decays.values()) == [(1, 0.0)] * 3 + [(2, 0.01)] * 3


def test_all_rates_rise_from_the_first_step_of_a_new_model(optimizer):
    set_rates(optimizer, 0.5, steps=9, probes_first=False)
    rate = PEAK_RATE * 0.5 * 10 / 100
    found = rates(optimizer)
    assert found[("model", 1.0)] == found[("probes", 1.0)] == {rate}
    (wide,) = found[("model", 0.1)]
    assert wide == pytest.approx(0.1 * rate)


def test_probes_of_a_trained_model_learn_alone_first(optimizer):
    set_rates(optimizer, 0.5, steps=0, probes_first=True)
    assert rates(optimizer) == {
        ("model", 1.0): {0.0}, ("model", 0.1): {0.0}, ("probes", 1.0): {PEAK_RATE}
    }  # fmt: skip
    set_rates(optimizer, 0.5, steps=500, probes_first=True)
    assert rates(optimizer)[("model", 1.0)] == rates(optimizer)[("probes", 1.0)] == {0.5 * PEAK_RATE}


def test_a_trained_model_stays_as_it_is_while_probes_learn(optimizer):
    for group in optimizer.param_groups:
        for weight in group["params"]:
            weight.grad = torch.ones_like(weight)
    before = [weight.clone() for group in optimizer.param_groups for weight in group["params"]]
    set_rates(optimizer, 0.5, steps=0, probes_first=True)
    optimizer.step()
    moved = [
        (group["of"], not torch.equal(weight, before.pop(0)))
        for group in optimizer.param_groups for weight in group["params"]
    ]  # fmt: skip
    assert set(moved) == {("model", False), ("probes", True)}

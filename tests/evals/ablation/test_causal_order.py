"""Positive controls: units are selected by the damage without them, on a model whose causes are known."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np

from gemma_lab.evals.ablation.answer_scores import AnswerScores
from gemma_lab.evals.ablation.causal_order import CausalOrder
from gemma_lab.evals.ablation.result import Measure

HEADS = [(layer, head) for layer in range(3) for head in range(4)]
GROUPS = ("a", "b")


class KnownReader:
    """An `AnswerReader` whose question a needs head (0, 1), and whose question b needs (1, 2) or (1, 3)."""

    def __init__(self) -> None:
        self.load = {layer: np.ones(4) for layer in range(3)}
        self.read_sets, self.largest = 0, 0  # units of a layer in one set

    def read(self, sets, kind, *, bar):
        self.read_sets += len(sets)
        rows = []
        for one in sets:
            self.largest = max(self.largest, *map(len, one.values()))
            units = {(layer, head) for layer, heads in one.items() for head in heads}
            lost_a = 2.0 * ((0, 1) in units) + 0.1 * ((2, 0) in units)
            lost_b = 5.0 * ({(1, 2), (1, 3)} <= units)
            rows.append([-lost_a, -lost_b])
        return AnswerScores(np.array(rows), np.ones((len(sets), 2), bool))


def order(kind="heads", units=HEADS, seed=0, room=None):
    reader = KnownReader()
    intact = AnswerScores(np.zeros((1, 2)), np.ones((1, 2), bool))
    return CausalOrder(kind, reader, intact, GROUPS, units, seed=seed, room=room), reader


BAR = SimpleNamespace(update=lambda: None)
ALL = dict.fromkeys(HEADS, "")


def test_what_answers_lose_most_comes_first():
    made, reader = order()
    assert made.select(1, Measure("a", contrast=True), ALL, bar=BAR) == [(0, 1)]
    # alone neither of the two that back each other up does anything; without random others they do
    assert set(made.select(2, Measure("b", contrast=False), ALL, bar=BAR)) == {(1, 2), (1, 3)}
    assert set(made.select(3, Measure(), ALL, bar=BAR)) == {(0, 1), (1, 2), (1, 3)}
    assert reader.read_sets == 128  # read once for all measures


def test_random_sets_follow_from_the_seed():
    orders = [order(seed=seed)[0].select(12, Measure(), ALL, bar=BAR) for seed in (0, 0, 1)]
    assert orders[0] == orders[1] != orders[2]


def test_backup_heads_are_found_as_a_layer():
    made, _ = order()
    assert made.layer(Measure("b", contrast=False), bar=BAR) == [(1, head) for head in range(4)]
    assert made.layer(Measure("a", contrast=True), bar=BAR) == [(0, head) for head in range(4)]


def test_at_most_half_of_a_stratum_is_selected():
    made, _ = order()
    found = made.select(12, Measure(), {unit: unit[0] for unit in HEADS}, bar=BAR)
    assert {layer: sum(unit[0] == layer for unit in found) for layer in range(3)} == {0: 2, 1: 2, 2: 2}


def test_no_more_of_a_layer_are_ablated_than_can_be():
    made, reader = order(room={0: 1, 1: 1, 2: 0})
    found = made.select(12, Measure("a", contrast=False), ALL, bar=BAR)
    assert found[0] == (0, 1)
    assert sorted(layer for layer, _ in found) == [0, 1]  # (2, 0) does damage, but cannot be ablated
    assert reader.largest == 1
    free, reader = order()
    free.select(1, Measure(), ALL, bar=BAR)
    assert reader.largest > 1
    same, _ = order(room=dict.fromkeys(range(3), 4))
    np.testing.assert_array_equal(same._random_members(), free._random_members())


def test_experts_that_no_token_chose_are_left_out():
    made, reader = order("experts")
    reader.load[0][1] = 0
    made = CausalOrder("experts", reader, made._intact, GROUPS, HEADS)
    found = made.select(12, Measure("a", contrast=False), ALL, bar=BAR)
    assert found[0] == (2, 0)
    assert (0, 1) not in found

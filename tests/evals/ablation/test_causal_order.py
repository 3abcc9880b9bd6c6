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
        self.read_sets = 0

    def read(self, sets, kind, *, bar):
        self.read_sets += len(sets)
        rows = []
        for one in sets:
            units = {(layer, head) for layer, heads in one.items() for head in heads}
            lost_a = 2.0 * ((0, 1) in units) + 0.1 * ((2, 0) in units)
            lost_b = 5.0 * ({(1, 2), (1, 3)} <= units)
            rows.append([-lost_a, -lost_b])
        return AnswerScores(np.array(rows), np.ones((len(sets), 2), bool))


def order(kind="heads", units=HEADS):
    reader = KnownReader()
    intact = AnswerScores(np.zeros((1, 2)), np.ones((1, 2), bool))
    return CausalOrder(kind, reader, intact, GROUPS, units), reader


BAR = SimpleNamespace(update=lambda: None)
ALL = dict.fromkeys(HEADS, "")


def test_the_largest_single_effects_come_first():
    made, _ = order()
    assert made.select(2, Measure(), ALL, bar=BAR) == [(0, 1), (2, 0)]
    assert made.select(1, Measure("a", contrast=True), ALL, bar=BAR) == [(0, 1)]


def test_later_rounds_find_heads_that_back_each_other_up():
    # alone no head does anything to question b, so the first one listed is selected
    made, reader = order(units=[(1, 2), *(unit for unit in HEADS if unit != (1, 2))])
    found = made.select(4, Measure("b", contrast=False), ALL, bar=BAR)
    assert found[:2] == [(1, 2), (1, 3)]
    assert reader.read_sets == 12 + 11 + 10 + 9


def test_backup_heads_are_found_as_a_layer():
    made, _ = order()
    assert made.layer(Measure("b", contrast=False), bar=BAR) == [(1, head) for head in range(4)]
    assert made.layer(Measure("a", contrast=True), bar=BAR) == [(0, head) for head in range(4)]


def test_at_most_half_of_a_stratum_is_selected():
    made, _ = order()
    found = made.select(12, Measure(), {unit: unit[0] for unit in HEADS}, bar=BAR)
    assert {layer: sum(unit[0] == layer for unit in found) for layer in range(3)} == {0: 2, 1: 2, 2: 2}


def test_experts_take_one_round_and_unused_ones_are_left_out():
    made, reader = order("experts")
    reader.load[0][1] = 0
    made = CausalOrder("experts", reader, made._intact, GROUPS, HEADS)
    assert made.select(3, Measure(), ALL, bar=BAR)[0] == (2, 0)
    assert reader.read_sets == 11
    made.select(2, Measure("b"), ALL, bar=BAR)  # single effects are read once
    assert reader.read_sets == 11

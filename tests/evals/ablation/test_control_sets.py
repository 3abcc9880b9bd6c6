"""Random sets: as many units of each stratum, drawn from all of them, so that p values are uniform."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

import gemma_lab as gl
from gemma_lab.errors import BadEdit, LabError
from gemma_lab.evals.ablation.components import by_layer, units_of
from gemma_lab.evals.ablation.control_sets import (
    describe_match,
    possible_sets,
    random_sets,
    read_match,
    require_experts_left,
    shares,
    strata,
)
from gemma_lab.evals.ablation.result import p_value

LAYERS = {(layer, one): layer for layer in (0, 3) for one in range(100)}
HEADS = {(layer, head): "global" if layer == 5 else "local" for layer in range(6) for head in range(4)}


def test_random_sets_have_as_many_units_of_each_stratum_and_are_different():
    chosen = {0: (5, 17), 3: (2,)}
    sets = random_sets(chosen, LAYERS, draws=60, seed=0)
    assert len({str(one) for one in sets}) == 60
    assert by_layer(units_of(chosen)) not in sets
    for one in sets:
        assert {layer: len(set(numbers)) for layer, numbers in one.items()} == {0: 2, 3: 1}
    many = random_sets(chosen, LAYERS, draws=3000, seed=0)
    assert {5, 17} & {number for one in many for number in one[0]}  # units of the set are drawn, too


def test_all_other_sets_where_there_are_few_and_none_where_there_are_none():
    kinds = {head: of for head, of in HEADS.items() if of == "global"}
    assert sorted(map(str, random_sets({5: (0,)}, kinds, draws=10, seed=0))) == [
        str({5: (head,)}) for head in (1, 2, 3)
    ]
    assert possible_sets({5: (0,)}, kinds) == 3
    assert random_sets({5: (0, 1, 2, 3)}, kinds, draws=10, seed=0) == []
    assert possible_sets({5: (0, 1), 3: (0,)}, HEADS) == math.comb(4, 2) * 20 - 1


def test_the_seed_repeats_the_draws():
    one, two, other = (random_sets({0: (5,)}, LAYERS, draws=20, seed=seed) for seed in (0, 0, 1))
    assert one == two != other


@pytest.mark.parametrize("outlier", [None, 0])
def test_p_values_of_all_sets_are_exactly_uniform_even_if_one_unit_does_everything(outlier):
    """Every set in turn is "the" set: with all draws, each rank occurs once, whatever the units do."""
    pool = {(0, unit): "" for unit in range(7)}
    effects = np.random.default_rng(1).normal(size=7)
    if outlier is not None:
        effects[outlier] = 100.0
    found = []
    for pair in itertools.combinations(range(7), 2):
        others = random_sets({0: pair}, pool, draws=1000, seed=0)
        of = np.array([effects[list(one[0])].sum() for one in others])
        found.append(p_value(effects[list(pair)].sum(), of))
    assert sorted(found) == pytest.approx([rank / 21 for rank in range(1, 22)])


def test_p_values_of_sampled_draws_are_uniform():
    """With 39 draws of many possible ones, p ≤ 0.05 in 5 % of random sets: of two specific ranks of 40."""
    pool = {(0, unit): unit // 20 for unit in range(60)}
    random = np.random.default_rng(0)
    effects = random.standard_cauchy(60)  # a few units do nearly everything
    found = []
    for seed in range(400):
        chosen = {
            0: tuple(
                sorted({int(one) for block in range(3) for one in block * 20 + random.choice(20, 2, False)})
            )
        }
        of = np.array([effects[list(one[0])].sum() for one in random_sets(chosen, pool, draws=39, seed=seed)])
        found.append(p_value(effects[list(chosen[0])].sum(), of))
    found = np.array(found)
    for level in (0.05, 0.25, 0.5):
        spread = 4 * math.sqrt(level * (1 - level) / len(found))
        assert abs((found <= level + 1e-9).mean() - level) < spread, level


def test_strata_of_a_model():
    lab = gl.load("mini-moe")
    load = {layer: np.arange(128)[::-1].copy() for layer in range(6)}
    by_size = strata(lab, "experts", "size", load)
    assert len(by_size) == 6 * 128
    assert len(set(by_size.values())) == 6
    by_load = strata(lab, "experts", "load", load)
    members: dict = {}
    for (layer, expert), name in by_load.items():
        members.setdefault(name, []).append((layer, expert))
    assert all(len(of) == 16 and len({layer for layer, _ in of}) == 1 for of in members.values())
    spans = [(min(e for _, e in of), max(e for _, e in of)) for of in members.values()]
    assert all(high - low == 15 for low, high in spans)  # neighbours in load, which falls with the number
    kinds = strata(lab, "heads", "kind", {})
    assert {layer for (layer, _), kind in kinds.items() if kind == "global"} == {5}
    assert set(strata(lab, "heads", "size", {}).values()) == {""}


def test_experts_that_an_active_edit_forces_have_no_stratum():
    lab = gl.load("mini-moe")
    load = {layer: np.arange(128) for layer in range(6)}
    free = {match: strata(lab, "experts", match, load) for match in ("size", "load")}
    with lab.edit(force_experts={2: [7, 90]}):
        for match, of in free.items():
            under = strata(lab, "experts", match, load)
            assert of.keys() - under.keys() == {(2, 7), (2, 90)}
            assert all(of[unit] == name for unit, name in under.items())
        assert len(strata(lab, "heads", "size", {})) == 24


def test_random_sets_leave_enough_experts_or_are_refused():
    lab = gl.load("mini-moe")
    of = strata(lab, "experts", "size", {})
    with lab.edit(ablate_experts={3: range(100)}):
        require_experts_left(lab, {3: tuple(range(100, 120)), 0: (1,)}, of)
        require_experts_left(lab, {3: tuple(range(95, 115))}, of)  # at most 20 others
        with pytest.raises(BadEdit, match=r"ablates 100 experts of layer 3.* 21 others; at most 120"):
            require_experts_left(lab, {3: tuple(range(21))}, of)  # none more itself
    require_experts_left(lab, {3: tuple(range(120))}, of)


def test_matches_are_checked_and_described():
    for kind, match in (("experts", "kind"), ("heads", "load"), ("experts", "colour"), ("heads", None)):
        with pytest.raises(LabError):
            read_match(kind, match)
    assert "load" in describe_match("experts", "load")
    assert "global" in describe_match("heads", "kind")


def test_shares_are_fractions_of_all_choices():
    load = {0: np.array([1, 2, 3]), 1: np.array([0, 4, 0])}
    assert shares([{0: (2,)}, {0: (0,), 1: (1,)}], "experts", load).tolist() == [0.3, 0.5]
    assert np.isnan(shares([{0: (2,)}], "heads", load)).all()

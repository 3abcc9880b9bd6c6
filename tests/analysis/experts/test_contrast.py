"""Expert contrast, against t tests written out, and planted differences; sets of top experts."""

from __future__ import annotations

import numpy as np
import pytest

import gemma_lab as gl
from gemma_lab.analysis.experts.contrast import expert_contrast
from gemma_lab.analysis.experts.expert_set import ExpertSet, top_experts
from gemma_lab.errors import LabError
from gemma_lab.trace.records.routing import Routing

EXPERTS = 16


def runs(count: int, *, favourite: int | None = None, seed: int = 0, shift: np.ndarray | None = None):
    """Return routings of two layers; in the second one a favourite expert is always chosen."""
    random = np.random.default_rng(seed)
    made = []
    for number in range(count):
        logits = random.normal(size=(2, 12, EXPERTS))
        if shift is not None:
            logits += shift[number]
        if favourite is not None:
            logits[1, :, favourite] += 6
        chance = np.exp(logits)
        ids = np.argsort(-chance, axis=-1)[..., :4]
        weights = np.take_along_axis(chance, ids, -1)
        weights = weights / weights.sum(-1, keepdims=True)
        made.append(Routing.of(
            ids, gate_weights=weights.astype(np.float32), scale=np.ones((2, EXPERTS), np.float32),
            entropy=np.ones((2, 12), np.float32), expert_output_fraction=np.ones((2, 12), np.float32),
            layers=(1, 3), experts=EXPERTS, precision="full",
        ))  # fmt: skip
    return made


def use(routing: Routing) -> np.ndarray:
    total = np.zeros((2, EXPERTS))
    for layer in range(2):
        for token in range(routing.ids.shape[1]):
            for expert, weight in zip(
                routing.ids[layer, token], routing.gate_weights[layer, token], strict=True
            ):
                total[layer, expert] += weight / routing.ids.shape[1]
    return total


def test_a_planted_expert_is_found_and_nothing_else():
    found = expert_contrast(runs(12, favourite=5), runs(12, seed=1), permutations=200)
    assert found.found[1, 5]
    assert found.difference[1, 5] > 0
    assert not (found.found & (found.score > 0))[0].any()
    assert found.top_experts(1) == {3: (5,)}
    assert found.to_pandas().loc[0, ["layer", "expert"]].tolist() == [3, 5]


def test_scores_are_those_of_t_tests():
    stats = pytest.importorskip("scipy.stats")
    first, second = runs(9), runs(7, seed=1)
    a, b = np.stack([use(one) for one in first]), np.stack([use(one) for one in second])
    found = expert_contrast(first, second, permutations=20)
    np.testing.assert_allclose(found.score, stats.ttest_ind(a, b, equal_var=False).statistic, atol=1e-6)
    paired = expert_contrast(first[:7], second, paired=True, permutations=20)
    np.testing.assert_allclose(paired.score, stats.ttest_rel(a[:7], b).statistic, atol=1e-6)
    np.testing.assert_allclose(found.use, [a.mean(0), b.mean(0)], atol=1e-9)


def test_without_a_difference_hardly_anything_is_found():
    counts = [
        expert_contrast(runs(8, seed=seed), runs(8, seed=100 + seed), permutations=100).found.any()
        for seed in range(20)
    ]
    assert sum(counts) <= 4  # 5 % each: more than 4 of 20 has a probability of 0.003


def test_pairs_cancel_what_depends_on_the_question():
    shift = np.random.default_rng(5).normal(0, 2, (14, 2, 1, EXPERTS))
    extra = np.zeros(EXPERTS)
    extra[7] = 1.5
    first, second = runs(14, seed=2, shift=shift + extra), runs(14, seed=3, shift=shift)
    paired = expert_contrast(first, second, paired=True, permutations=200)
    plain = expert_contrast(first, second, permutations=200)
    assert paired.score[:, 7].min() > plain.score[:, 7].max()


def test_few_runs_are_tested_against_every_permutation():
    first, second = runs(6, favourite=5), runs(6, seed=1)
    exact = expert_contrast(first, second, paired=True, permutations=64)
    assert (exact.permutations, exact.p.min()) == (64, 2 / 64)  # its mirror image is as far away
    assert exact.found[1, 5]
    same = expert_contrast(first, second, paired=True, permutations=64, seed=9)
    np.testing.assert_array_equal(same.p, exact.p)
    drawn = expert_contrast(first, second, paired=True, permutations=63)
    assert (drawn.permutations, drawn.p.min() * 64 % 1) == (63, 0)
    apart = expert_contrast(first[:4], second[:5], permutations=126)
    assert apart.permutations == 126
    assert np.isin((apart.p * 126).round(9), np.arange(1, 127)).all()


@pytest.mark.parametrize(
    ("first", "second", "paired", "least"),
    [(5, 5, True, "0.0625"), (3, 3, False, "0.1"), (2, 3, False, "0.1")],
)
def test_runs_that_are_too_few_for_any_finding_are_refused(first, second, paired, least):
    with pytest.raises(LabError, match=f"no p value is below {least}; alpha is 0.05"):
        expert_contrast(runs(first), runs(second, seed=1), paired=paired, permutations=200)


def test_bad_groups():
    one = runs(6)
    for first, second, options in (
        (one[:1], one, {}), (one, [], {}), (one, one[:2], {"paired": True}), (one, one, {"permutations": 3}),
    ):  # fmt: skip
        with pytest.raises(LabError):
            expert_contrast(first, second, **{"permutations": 20} | options)


def test_top_experts_take_the_highest_scores_and_leave_half_of_a_layer():
    score = np.zeros((2, 8))
    score[0] = np.arange(8, 0, -1)
    score[1, :3] = 0.5
    chosen = top_experts(score, (4, 9), 6, statistic="of a kind")
    assert chosen == {4: (0, 1, 2, 3), 9: (0, 1)}
    assert chosen.count == 6
    assert dict(chosen) == dict(ExpertSet({9: [1, 0], 4: [3, 2, 1, 0], 5: []}, "of a kind"))
    assert "6 of a kind" in repr(chosen)
    with pytest.raises(LabError, match="7 of 16"):
        top_experts(score, (4, 9), 8, statistic="of a kind")
    with pytest.raises(LabError):
        top_experts(score, (4, 9), 0, statistic="of a kind")


def test_every_statistic_names_its_top_experts():
    special, others = runs(10, favourite=5), runs(10, seed=1)
    load = gl.analysis.expert_load(special)
    assert load.top_experts(1) == {3: (5,)}
    tokens = np.repeat(["x", "y"], 120)
    found = gl.analysis.specialisation([*special, *others], tokens, permutations=20)
    assert found.top_experts(1, label="x") == {3: (5,)}
    with pytest.raises(LabError, match="'z'"):
        found.top_experts(1, label="z")
    divergence = gl.analysis.routing_divergence({"x": special, "y": others}, permutations=20)
    assert divergence.top_experts(1, label="x", reference="y") == {3: (5,)}
    np.testing.assert_allclose(divergence.loads.sum(-1), 1)
    with pytest.raises(LabError):
        divergence.top_experts(1, label="x", reference="z")
    together = gl.analysis.coactivation(others)
    layer, first, second, *_ = together.top(1)[0]
    assert {first, second} <= set(together.top_experts(2)[layer])


def test_an_expert_set_is_an_edit():
    edit = gl.Edit(ablate_experts=ExpertSet({4: [1, 2]}, "busiest experts"))
    assert edit == gl.Edit(ablate_experts={4: [1, 2]})

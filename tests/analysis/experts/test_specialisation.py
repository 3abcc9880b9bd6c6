"""Specialisation: noise is called noise at the stated rate, and planted structure is found."""

from __future__ import annotations

import numpy as np
import pytest

from gemma_lab.analysis.experts.specialisation import mutual_information, specialisation
from gemma_lab.errors import LabError


def labels_of(tokens, seed, names=("de", "en", "vi")):
    return np.random.default_rng(seed).choice(names, size=tokens)


def test_rates_are_those_of_a_loop(draw):
    given, labels = draw(), labels_of(200, 0)
    found = specialisation(given, labels, permutations=20)
    for place, name in enumerate(found.labels):
        chosen = [(given.ids[1][labels == name] == expert).any(axis=1).mean() for expert in range(32)]
        np.testing.assert_allclose(found.rate[place, 1], chosen)
    np.testing.assert_array_equal(found.sizes, [(labels == name).sum() for name in found.labels])
    np.testing.assert_allclose(found.overall.sum(axis=1), 4)


def test_random_labels_give_a_finding_no_more_often_than_alpha(draw):
    """120 surveys of noise at 10 %: with the promised rate, more than 20 would happen once in 200 times."""
    surveys = [
        specialisation(
            draw(seed, tokens=90), labels_of(90, seed), permutations=99, alpha=0.1, seed=seed
        ).found.any()
        for seed in range(120)
    ]
    assert 1 <= sum(surveys) <= 20


def test_tokens_of_one_prompt_share_noise_so_only_whole_prompts_are_a_fair_baseline(draw):
    """Prompts with tastes of their own, labelled at random: single tokens look specialised, prompts not."""
    tokens, prompts = 30, 24
    by_token, by_prompt = [], []
    for seed in range(12):
        parts = [draw(1_000 * seed + n, tokens=tokens, drift=0.3) for n in range(prompts)]
        groups = np.repeat(np.arange(prompts), tokens)
        names = np.random.default_rng(seed).permutation(["a", "b"] * (prompts // 2))[groups]
        by_token.append(specialisation(parts, names, permutations=39).found.any())
        by_prompt.append(specialisation(parts, names, groups=groups, permutations=39).found.any())
    assert sum(by_token) == 12
    assert sum(by_prompt) <= 4


def test_a_planted_preference_is_found_where_it_was_planted(draw, routing_of):
    labels = labels_of(600, 3)
    ids = np.array(draw(tokens=600).ids)
    german = np.flatnonzero(labels == "de")[::2]
    free = german[~(ids[1, german] == 5).any(axis=1)]
    ids[1, free, 3] = 5
    found = specialisation(routing_of(ids, experts=32, layers=(4, 9)), labels)
    best = found.to_pandas().iloc[0]
    assert (best["label"], best["layer"], best["expert"]) == ("de", 9, 5)
    assert best["p"] == pytest.approx(1 / 501)
    assert best["lift"] > 1.5
    assert not found.found[:, 0].any()
    assert found.information[1] > found.information_limit[1]
    assert found.excess[1] > found.excess[0]


def test_groups_of_single_tokens_are_tokens(draw):
    given, labels = draw(tokens=80), labels_of(80, 5)
    one = specialisation(given, labels, permutations=20)
    other = specialisation(given, labels, groups=range(80), permutations=20)
    np.testing.assert_allclose(one.score, other.score, atol=1e-9)
    np.testing.assert_array_equal(one.rate, other.rate)


def test_the_same_seed_gives_the_same_p(draw):
    one, two = (specialisation(draw(), labels_of(200, 0), permutations=50, seed=4) for _ in range(2))
    np.testing.assert_array_equal(one.p, two.p)


def test_information_of_labels_that_decide_the_expert_is_their_entropy():
    counts = np.asarray([[[8, 0, 0]], [[0, 8, 0]]])
    np.testing.assert_allclose(mutual_information(counts), [1.0])
    np.testing.assert_allclose(mutual_information(np.full((2, 1, 3), 5)), [0.0], atol=1e-12)


def test_what_cannot_be_compared_is_refused(draw):
    given = draw(tokens=10)
    with pytest.raises(LabError, match="9 labels for 10 tokens"):
        specialisation(given, ["a"] * 9)
    with pytest.raises(LabError, match="have the label 'a'"):
        specialisation(given, ["a"] * 10)
    with pytest.raises(LabError, match="more than one label"):
        specialisation(given, list("ababababab"), groups=[0] * 5 + [1] * 5)
    with pytest.raises(LabError, match="10 permutations"):
        specialisation(given, list("ababababab"), permutations=10)


def test_repr_says_how_it_was_tested(draw):
    found = specialisation(draw(), labels_of(200, 0), permutations=20)
    assert repr(found).startswith("Specialisation(3 labels × 2 layers × 32 experts, 200 tokens: ")
    assert repr(found).endswith("family-wise 5%, 20 permutations of tokens)")

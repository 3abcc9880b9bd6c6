"""Intervals and tests agree with published values, with counting by hand and with simulation."""

from __future__ import annotations

import numpy as np
import pytest

from gemma_lab.evals.statistics import (
    PairedAnswers,
    clustered_mean_interval,
    clustered_proportion_interval,
    holm,
    mcnemar_test,
    paired_difference_interval,
    rank_correlation,
    wilson_interval,
)


def test_the_interval_is_wilsons():
    low, high = wilson_interval(8, 10)
    assert (round(low, 4), round(high, 4)) == (0.4902, 0.9433)
    assert wilson_interval(0, 20)[0] == 0


def test_pairs_are_counted_question_by_question():
    result = mcnemar_test([True, True, False, False, False], [True, False, True, True, False])
    assert result == PairedAnswers(both=1, first=1, second=2, neither=1)
    assert repr(result).startswith("PairedAnswers(5 questions")
    with pytest.raises(ValueError, match="shorter"):
        mcnemar_test([True, True], [True])


@pytest.mark.parametrize(
    ("first", "second", "p"),
    [(0, 0, 1.0), (0, 5, 2 / 32), (1, 5, 2 * 7 / 64), (3, 3, 1.0), (0, 40, 2 / 2**40)],
)
def test_the_test_is_exact(first, second, p):
    assert PairedAnswers(10, first, second, 2).p_value == pytest.approx(p)
    assert PairedAnswers(10, second, first, 2).p_value == pytest.approx(p)


def test_holm_adjusts_as_r_does():
    # R 4.3: p.adjust(c(0.01, 0.02, 0.03, 0.04), "holm"), and with other orders and ties
    assert holm([0.01, 0.02, 0.03, 0.04]) == pytest.approx([0.04, 0.06, 0.06, 0.06])
    assert holm([0.04, 0.01]) == pytest.approx([0.04, 0.02])
    assert holm([0.5, 0.9, 0.5]) == [1.0, 1.0, 1.0]
    assert holm([]) == []


def test_the_paired_interval_covers_the_difference():
    random, covered = np.random.default_rng(0), 0
    for _ in range(600):
        only_first, only_second, _ = random.multinomial(40, [0.15, 0.05, 0.8])
        low, high = paired_difference_interval(only_first, only_second, 40)
        covered += low <= -0.1 <= high
    assert 0.93 <= covered / 600 <= 0.99
    for impossible in ((15, 15, 20), (0, 0, 0), (-1, 3, 20)):
        with pytest.raises(ValueError, match="pairs"):
            paired_difference_interval(*impossible)
    low, high = paired_difference_interval(0, 0, 20)
    assert low == -high
    assert -1 <= low < 0


def test_a_mean_of_independent_values_has_the_normal_interval():
    values = np.random.default_rng(1).exponential(size=900)
    low, high = clustered_mean_interval(values, np.arange(900))
    half = 1.96 * values.std() / 30
    assert low == pytest.approx(values.mean() - half, abs=0.25 * half)
    assert high == pytest.approx(values.mean() + half, abs=0.25 * half)


def test_a_mean_of_equal_clusters_is_as_wide_as_that_of_the_clusters():
    values = np.random.default_rng(2).normal(size=100)
    apart = clustered_mean_interval(values, np.arange(100))
    assert clustered_mean_interval(values.repeat(9), np.arange(100).repeat(9)) == pytest.approx(apart)
    assert np.isnan(clustered_mean_interval(values, np.zeros(100, int))).all()


def test_a_proportion_counts_equal_clusters_once():
    right = np.random.default_rng(3).random(60) < 0.7
    alone = clustered_proportion_interval(right, np.arange(60))
    assert alone == pytest.approx(wilson_interval(int(right.sum()), 60), abs=0.01)
    repeated = clustered_proportion_interval(right.repeat(8), np.arange(60).repeat(8))
    assert repeated == pytest.approx(alone, abs=0.01)
    naive = wilson_interval(int(right.sum()) * 8, 480)
    assert repeated[1] - repeated[0] > 2 * (naive[1] - naive[0])
    assert clustered_proportion_interval(np.ones(5, bool), np.arange(5)) == wilson_interval(5, 5)


def test_rank_correlation_is_scipys_and_its_interval_covers_it():
    stats = pytest.importorskip("scipy.stats")
    random = np.random.default_rng(0)
    first = random.normal(size=60).round(1)  # with ties
    second = (first + random.normal(size=60)).round(1)
    found = rank_correlation(first, second, np.repeat(np.arange(20), 3), draws=300)
    assert found.rho == pytest.approx(stats.spearmanr(first, second).statistic)
    assert found.low < found.rho < found.high
    assert found.count == 60
    apart = rank_correlation(first, second, draws=300)
    assert apart.rho == found.rho
    assert rank_correlation(first, np.exp(first)).rho == pytest.approx(1)
    assert rank_correlation(first, -first).rho == pytest.approx(-1)


def test_rank_correlation_of_a_constant_or_of_one_cluster_is_not_a_number():
    same = rank_correlation(np.ones(5), np.arange(5.0))
    assert np.isnan([same.rho, same.low, same.high]).all()
    single = rank_correlation(np.arange(5.0), np.arange(5.0), np.zeros(5, dtype=int))
    assert single.rho == pytest.approx(1)
    assert np.isnan(single.low)
    with pytest.raises(ValueError, match="5 and 4"):
        rank_correlation(np.arange(5.0), np.arange(4.0))

"""The bound never exceeds the divergence, and reaches it where everything is known."""

from __future__ import annotations

import math

import numpy as np
import pytest

from gemma_lab.analysis.kl_divergence import kl_bound


def logs(probabilities):
    return {token: math.log(p) for token, p in probabilities.items()}


def test_by_hand():
    """Token 1 is known on both sides; 2 and 3 on one side each, so they are part of "other"."""
    bound = kl_bound(logs({1: 0.6, 2: 0.3}), logs({1: 0.2, 3: 0.5}))
    assert bound.nats == pytest.approx(0.6 * math.log(0.6 / 0.2) + 0.4 * math.log(0.4 / 0.8))
    assert bound.resolved == pytest.approx(0.6)


def test_it_is_the_divergence_where_everything_is_known():
    p, q = np.random.default_rng(0).dirichlet(np.ones(9), 2)
    bound = kl_bound(logs(dict(enumerate(p))), logs(dict(enumerate(q))))
    assert bound.nats == pytest.approx((p * np.log(p / q)).sum(), abs=1e-9)
    assert bound.resolved == pytest.approx(1)


@pytest.mark.parametrize("kept", [1, 2, 5, 20])
@pytest.mark.parametrize("spread", [0.05, 0.5, 5.0])
def test_it_never_exceeds_the_divergence(kept, spread):
    """Also with log-probabilities rounded to float32, as they are recorded."""
    random = np.random.default_rng(7)
    reached = []
    for _ in range(300):
        logits = random.normal(size=40) * 3
        p, q = (
            np.exp(x - np.logaddexp.reduce(x)) for x in (logits, logits + spread * random.normal(size=40))
        )
        true = float((p * np.log(p / q)).sum())
        known = [
            {int(i): float(np.float32(np.log(part[i]))) for i in np.argsort(-part)[:kept]} for part in (p, q)
        ]
        nats = kl_bound(*known).nats
        assert 0 <= nats <= true + 1e-6
        reached.append(nats / true)
    assert max(reached) > 0.01


def test_the_same_distribution_is_not_apart():
    known = {1: float(np.float32(math.log(0.7))), 2: float(np.float32(math.log(0.3)))}
    assert kl_bound(known, known).nats == 0
    assert kl_bound({1: 0.0}, {1: 0.0}).nats == 0


def test_nothing_in_common_says_nothing():
    assert kl_bound(logs({1: 0.9}), logs({2: 0.9})).nats == 0
    assert kl_bound({}, {}).resolved == 0


def test_a_rest_that_rounding_ate_is_not_a_divergence_without_end():
    bound = kl_bound(logs({1: 0.999}), {1: 1e-8})
    assert bound.nats < 0.02
    assert math.isfinite(bound.nats)


def test_what_the_second_excludes_is_a_divergence_without_end():
    assert kl_bound(logs({1: 0.5, 2: 0.5}), {1: 0.0, 2: -math.inf}).nats == math.inf
    assert kl_bound({1: 0.0, 2: -math.inf}, logs({1: 0.5, 2: 0.5})).nats == pytest.approx(math.log(2))

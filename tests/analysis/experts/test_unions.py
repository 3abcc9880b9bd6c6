"""Unions of neighbouring tokens' experts, against sets; the expected speed-up, against a simulation."""

from __future__ import annotations

import random

import numpy as np
import pytest

import gemma_lab as gl
from gemma_lab.errors import LabError
from gemma_lab.trace.records.routing import Routing


def routing(*, layers=3, tokens=40, top_k=4, experts=16, seed=0, repeat=0.0) -> Routing:
    """Return a routing of random choices, of which a token keeps those of the one before with a chance."""
    rng = np.random.default_rng(seed)
    ids = np.zeros((layers, tokens, top_k), dtype=np.int64)
    for layer in range(layers):
        for token in range(tokens):
            keeps = token and rng.random() < repeat
            ids[layer, token] = ids[layer, token - 1] if keeps else rng.permutation(experts)[:top_k]
    return Routing.of(
        ids,
        np.full(ids.shape, 1 / top_k),
        scale=np.ones((layers, experts)),
        entropy=np.zeros(ids.shape[:2]),
        expert_output_fraction=np.zeros(ids.shape[:2]),
        layers=tuple(range(2, 2 + layers)),
        experts=experts,
    )


def by_sets(ids, size):
    """Return the size of the union of each run of so many tokens, ``[layers, runs]``."""
    layers, tokens, _ = ids.shape
    return np.array(
        [
            [len(set(ids[layer, start : start + size].ravel())) for start in range(tokens - size + 1)]
            for layer in range(layers)
        ]
    )


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("repeat", [0.0, 0.6, 1.0])
def test_unions_are_those_of_sets(seed, repeat):
    made = routing(seed=seed, repeat=repeat)
    found = gl.analysis.expert_unions(made, k=(1, 2, 3, 5, 8, 40))
    for column, size in enumerate(found.sizes.tolist()):
        expected = by_sets(made.ids, size)
        assert found.windows[column] == expected.shape[1]
        np.testing.assert_allclose(found.mean[:, column], expected.mean(axis=1))
        np.testing.assert_allclose(found.deviation[:, column], expected.std(axis=1))
    assert found.layers == made.layers


def test_several_routings_are_not_joined():
    parts = [routing(seed=1, tokens=9), routing(seed=2, tokens=3), routing(seed=3, tokens=12)]
    found = gl.analysis.expert_unions(parts, k=range(1, 6))
    for column, size in enumerate(found.sizes.tolist()):
        runs = [by_sets(part.ids, size) for part in parts if len(part) >= size]
        np.testing.assert_allclose(found.mean[:, column], np.concatenate(runs, axis=1).mean(axis=1))
    assert found.tokens == 24


def test_independent_choices_reach_what_is_expected_of_them():
    found = gl.analysis.expert_unions(routing(tokens=4000, layers=2, seed=5))
    np.testing.assert_allclose(found.overall, found.independent, rtol=0.02)
    same = gl.analysis.expert_unions(routing(repeat=1.0))
    np.testing.assert_allclose(same.growth, 1)


@pytest.mark.slow
def test_a_trace_and_its_routing_are_taken_alike():
    trace = gl.load("mini-moe").trace("Write 47 in German words.")
    found, of_routing = gl.analysis.expert_unions(trace), gl.analysis.expert_unions(trace.routing)
    np.testing.assert_array_equal(found.mean, of_routing.mean)
    assert (found.mean[:, 0] == trace.routing.top_k).all()
    assert (np.diff(found.mean, axis=1) >= 0).all()


@pytest.mark.parametrize("k", [[0], [65], [True], ["3"], []])
def test_wrong_sizes_are_refused(k):
    with pytest.raises(LabError):
        gl.analysis.expert_unions(routing(), k=k)


def test_a_routing_that_is_too_short_is_refused():
    with pytest.raises(LabError, match="5 tokens"):
        gl.analysis.expert_unions(routing(tokens=5))


@pytest.mark.parametrize("acceptance", [0.0, 0.35, 0.8, 1.0])
def test_the_speedup_is_that_of_simulated_passes(acceptance):
    found = gl.analysis.expert_unions(routing(tokens=300), k=range(1, 6))
    expected = found.speedup(acceptance, expert_time=0.4, draft_time=0.1, token_time=0.02)
    rng = random.Random(0)
    for drafts in range(5):
        tokens = []
        for _ in range(20_000):
            accepted = 0
            while accepted < drafts and rng.random() < acceptance:
                accepted += 1
            tokens.append(accepted + 1)
        loaded = by_sets(routing(tokens=300).ids, drafts + 1).mean()
        time = 0.6 + 0.4 * loaded / 4 + drafts * 0.12
        assert expected.experts[drafts] == pytest.approx(loaded)
        assert expected.time[drafts] == pytest.approx(time)
        assert expected.speedup[drafts] == pytest.approx(np.mean(tokens) / time, rel=0.02)
    assert expected.best == int(np.argmax(expected.speedup))


def test_what_never_is_accepted_does_not_pay():
    found = gl.analysis.expert_unions(routing())
    assert found.speedup(0.0, expert_time=0.5, draft_time=0.1).best == 0
    assert found.speedup(1.0, expert_time=0.0, draft_time=0.0).best == 7


@pytest.mark.parametrize("wrong", [{"expert_time": 1.5}, {"draft_time": -1}, {"token_time": float("nan")}])
def test_numbers_out_of_range_are_refused(wrong):
    found = gl.analysis.expert_unions(routing())
    with pytest.raises(LabError, match=next(iter(wrong))):
        found.speedup(0.5, **({"expert_time": 0.3, "draft_time": 0.1} | wrong))
    with pytest.raises(LabError, match="acceptance"):
        found.speedup(1.2, expert_time=0.3, draft_time=0.1)


def test_gaps_between_the_sizes_give_no_speedup():
    found = gl.analysis.expert_unions(routing(), k=(1, 3))
    with pytest.raises(LabError, match=r"\[1, 3\]"):
        found.speedup(0.5, expert_time=0.3, draft_time=0.1)


def test_the_planner_takes_unions():
    alike = gl.analysis.expert_unions(routing(top_k=8, experts=128, tokens=200, repeat=0.9))
    apart = gl.analysis.expert_unions(routing(top_k=8, experts=128, tokens=200))
    speeds = []
    for unions in (alike, apart):
        drafter = unions.drafter(3, 0.7)
        assert drafter["expert_share"] == pytest.approx(unions.overall[3] / 128)
        made = gl.plan("26B-A4B", hardware="RTX 3090", quantization="qat", drafter=drafter)
        speeds.append(made.decode.value)
    assert speeds[0] > speeds[1]  # fewer experts to read
    with pytest.raises(LabError, match="9 tokens"):
        alike.drafter(8, 0.7)


def test_figures_say_what_they_show():
    found = gl.analysis.expert_unions(routing())
    assert f"{found.overall[-1]:.1f}" in found.figure().text
    both = gl.plots.expert_unions_figure({"prose": found, "code": found})
    assert "prose" in both.text
    expected = found.speedup(0.7, expert_time=0.4, draft_time=0.1)
    drawn = gl.plots.draft_speedup_figure({"prose": expected}, measured={"prose": {1: 1.5, 2: 1.7}})
    assert "1.70 × with 2" in drawn.text
    assert str(expected.best) in expected.figure().text
    assert list(found.to_pandas().columns) == ["layer", "tokens", "windows", "mean", "deviation"]
    assert len(expected.to_pandas()) == 8

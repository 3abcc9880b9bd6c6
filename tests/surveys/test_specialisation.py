"""Specialisation over partitions equals that of the traces in memory."""

from __future__ import annotations

import numpy as np
import pytest

import gemma_lab as gl
from gemma_lab.errors import LabError, NotTraced
from gemma_lab.surveys.run import survey

ROWS = [
    {"prompt": f"{greeting} {n}, wie geht es?" if language == "German" else f"{greeting} {n}, how are you?",
     "language": language}
    for n in range(12)
    for language, greeting in (("German", "Hallo"), ("English", "Hello"))
]  # fmt: skip


@pytest.fixture(scope="module")
def mini():
    return gl.load("mini-moe", dtype="float32")


@pytest.fixture(scope="module")
def made(mini, tmp_path_factory):
    folder = tmp_path_factory.mktemp("surveys")
    return survey([*ROWS, "unlabelled"], mini, out=folder / "one",
                  partition_size=7, progress=False)  # fmt: skip


def test_it_equals_the_analysis_of_all_traces(made, mini):
    found = made.specialisation("language", permutations=60, seed=3)
    traces = [mini.trace(row["prompt"]) for row in ROWS]
    labels = [row["language"] for row, trace in zip(ROWS, traces, strict=True) for _ in trace.tokens.ids]
    groups = [f"{n:03}" for n, trace in enumerate(traces) for _ in trace.tokens.ids]
    wanted = gl.analysis.specialisation(
        [trace.routing for trace in traces], labels, groups=groups, permutations=60, seed=3
    )
    for name in ("sizes", "rate", "overall", "information", "p"):
        np.testing.assert_allclose(getattr(found, name), getattr(wanted, name), err_msg=name)
    np.testing.assert_allclose(found.score, wanted.score, atol=1e-9)
    np.testing.assert_allclose(found.information_limit, wanted.information_limit)
    assert found.unit == "prompt"


def test_random_labels_are_rarely_found(mini, tmp_path):
    """At a family-wise error of 5 %, four of ten random labels have one chance in a thousand."""
    random = np.random.default_rng(0)
    names = [f"random {n}" for n in range(10)]
    rows = [row | {name: str(random.integers(2)) for name in names} for row in ROWS]
    done = survey(rows, mini, out=tmp_path / "s", progress=False)
    found = [done.specialisation(name, permutations=60).found.any() for name in names]
    assert sum(found) <= 3


def test_errors(made, mini, tmp_path):
    with pytest.raises(LabError, match="colour"):
        made.specialisation("colour")
    with pytest.raises(LabError, match=r"p = 0\.05"):
        made.specialisation("language", permutations=5)
    small = survey(ROWS[:4], mini, out=tmp_path / "s", keep_tokens=False, progress=False)
    with pytest.raises(NotTraced, match="tokens"):
        small.specialisation("language")

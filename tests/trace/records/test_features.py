"""Features of an SAE as data: the fit, what it allows, and records that are refused."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from gemma_lab.errors import BadTrace, LabError
from gemma_lab.trace.records.features import Features


def record(**change) -> Features:
    fields = {
        "sae": "an SAE", "layer": 3, "features": 10,
        "ids": np.array([[7, -1], [2, 7], [2, -1]], np.int32),
        "activations": np.array([[9, 0], [3, 2], [1.5, 0]], np.float32),
        "active": np.array([1, 4, 1], np.int32),
        "squared_errors": np.array([100, 1, 2], np.float32),
        "counted": np.array([False, True, True]),
        "total_variance": 12.0, "min_variance_explained": 0.5,
    }  # fmt: skip
    return Features(**(fields | change))


def test_the_fit_is_of_counted_tokens_and_comes_first():
    features = record()
    assert features.variance_explained == pytest.approx(1 - 3 / 12)
    assert features.mean_active == 2.5
    assert repr(features).startswith("Features(variance explained 0.750")
    html = features._repr_html_()
    assert html.index("0.750") < html.index("an SAE") < html.index("feature 2")
    assert features.at(1) == {2: 3.0, 7: 2.0}
    np.testing.assert_array_equal(features.of(7), [9, 2, 0])
    assert features.strongest(5) == [(2, 3.0, 1), (7, 2.0, 1)]  # <bos> does not count
    assert features.to_pandas()["feature"].tolist() == [7, 2, 7, 2]
    assert "0.750" in features.figure().text


def test_a_bad_fit_refuses_what_interprets_and_keeps_the_numbers():
    features = record(squared_errors=np.array([0, 8000, 72], np.float32))
    assert features.variance_explained < -600
    for ask in (
        lambda: features.at(1), lambda: features.of(2), features.strongest, features.to_pandas,
        lambda: features.figure(),
    ):  # fmt: skip
        with pytest.raises(LabError, match=r"-671\.\d+.* less than 0.5"):
            ask()
    html = features._repr_html_()
    assert "not interpreted" in html
    assert "feature 2" not in html
    assert features.ids.shape == (3, 2)
    assert not record(total_variance=0.0).fits


@pytest.mark.parametrize(
    ("ask", "named"),
    [(lambda f: f.at(3), "token"), (lambda f: f.of(10), "feature"), (lambda f: f.of("2"), "feature")],
)
def test_what_does_not_exist_is_refused(ask, named):
    with pytest.raises(LabError, match=named):
        ask(record())


@pytest.mark.parametrize(
    "change",
    [
        {"ids": np.array([[7, -1], [2, 10], [2, -1]], np.int32)},
        {"ids": np.array([[7, -1], [7, 7], [2, -1]], np.int32)},
        {"activations": np.array([[9, 0], [2, 3], [1.5, 0]], np.float32)},
        {"activations": np.array([[9, 0], [3, np.nan], [1.5, 0]], np.float32)},
        {"activations": np.array([[9, 1], [3, 2], [1.5, 0]], np.float32)},
        {"active": np.array([2, 4, 1], np.int32)},
        {"squared_errors": np.array([0, -1, 0], np.float32)},
        {"total_variance": float("inf")},
    ],
)
def test_records_that_no_sae_gives(change):
    record().check()
    with pytest.raises(BadTrace):
        record(**change).check()


@pytest.mark.parametrize("name", ["activations", "active", "squared_errors", "counted"])
def test_shapes_fit_together(name):
    with pytest.raises(BadTrace, match=name):
        record(**{name: getattr(record(), name)[:2]})


def test_equality_is_of_all_parts():
    assert record() == record()
    assert record() != record(sae="other")
    assert dataclasses.replace(record(), same_weights=True) != record()

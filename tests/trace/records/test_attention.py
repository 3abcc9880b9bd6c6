"""What every head looked at, as data: shapes, units, errors, and a sound file."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from support.made_attention import made_up, whole_rows

import gemma_lab as gl
from gemma_lab.errors import BadTrace, LabError, NotTraced
from gemma_lab.trace.records.attention import Attention, AttentionRequest
from gemma_lab.trace.records.attention_checks import check_attention


@pytest.fixture(scope="module")
def looks():
    return made_up()


def but(looks, **changes) -> Attention:
    return dataclasses.replace(looks, **changes)


def test_it_says_what_it_is(looks):
    assert repr(looks) == (
        "Attention(2 layers × 2 heads, 20 tokens, 5 bins, top 3, 1 row, 1 audio, 2 vision)"
    )
    assert (len(looks), looks.bins, looks.top_k, looks.rows, looks.kv_shared_layers) == (
        20,
        5,
        3,
        (11,),
        {7: 5},
    )
    assert looks.layout(3).window == 6
    assert looks.nbytes > 0
    check_attention(looks)


def test_maps_are_means_of_sums(looks):
    for layer, window in ((3, 6), (7, None)):
        rows, edges = whole_rows(window=window, seed=layer), looks.bin_edges
        maps = looks.pooled(layer)
        for i in range(5):
            for j in range(5):
                part = rows[:, edges[i] : edges[i + 1], edges[j] : edges[j + 1]].sum(-1).mean(-1)
                np.testing.assert_allclose(maps[:, i, j], part, atol=1e-6)
        np.testing.assert_allclose(maps.sum(-1), 1, atol=1e-5)
        np.testing.assert_array_equal(looks.pooled(layer, 2), maps[1])
    assert looks.band_extent(3) == (2, 0)
    assert looks.band(3).shape == (2, 5, 3)
    assert looks.band_extent(7) == (4, 0)


def test_statistics_have_heads_first_and_tokens_second(looks):
    for of in (looks.entropy, looks.first_token_mass, looks.distance):
        assert of(3).shape == (2, 20)
        assert of(3).dtype == np.float32
    masses = looks.mass_by_label(7)
    assert list(masses) == ["modality:text", "modality:image"]
    np.testing.assert_allclose(sum(masses.values()), 1, atol=1e-3)
    np.testing.assert_allclose(looks.first_token_mass(7)[:, 0], 1)
    keys, weights = looks.top_keys(3)
    assert keys.shape == weights.shape == (2, 20, 3)
    assert keys[:, 0].tolist() == [[0, -1, -1]] * 2


def test_rows_reach_from_the_first_token_to_the_query(looks):
    for layer, window in ((3, 6), (7, None)):
        row = looks.row(layer, 11)
        np.testing.assert_allclose(row, whole_rows(window=window, seed=layer)[:, 11, :12], atol=1e-6)
    with pytest.raises(NotTraced, match="query 4 in layer 7"):
        looks.row(7, 4)


def test_what_is_not_there_is_said(looks):
    with pytest.raises(LabError, match="layer 4"):
        looks.pooled(4, 0)
    with pytest.raises(LabError, match="head 1"):
        looks.pooled(3, 1)
    bare = but(looks, bands={}, bins_before={}, per_query={})
    for ask in (bare.pooled, bare.entropy, bare.mass_by_label, bare.top_keys):
        with pytest.raises(LabError, match="not recorded"):
            ask(3)


def test_equal_looks_at_everything(looks):
    assert looks.equal(made_up())
    assert not looks.equal(made_up(tokens=21))
    assert not looks.equal(None)
    for name in ("bands", "per_query"):
        key, array = next(iter(getattr(looks, name).items()))
        assert not looks.equal(but(looks, **{name: {**getattr(looks, name), key: array * 0.5}}))
    assert not looks.equal(but(looks, full_rows={}))
    assert not looks.equal(but(looks, towers={}))


def spoilt(looks, name, value):
    numbers = {key: array.copy() for key, array in looks.per_query.items()}
    numbers[name].flat[5] = value
    return but(looks, per_query=numbers)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("entropy", np.nan),
        ("entropy", -1),
        ("first_token_mass", 1.5),
        ("mass_by_label", np.inf),
        ("keys", 20),
        ("keys", -2),
        ("weights", -0.1),
        ("distance", np.nan),
    ],
)
def test_numbers_that_no_attention_gives_are_refused(looks, name, value):
    with pytest.raises(BadTrace):
        check_attention(spoilt(looks, name, value))


def test_shapes_that_contradict_each_other_are_refused(looks):
    wrong = [
        {"bin_edges": looks.bin_edges[:-1]},
        {"bin_edges": looks.bin_edges[::-1]},
        {"heads": (0, 4)},
        {"heads": ()},
        {"layers": looks.layers[:1] * 2},
        {"bins_before": {3: 9, 7: 4}},
        {"labels": ("modality:text",)},
        {"bands": {3: looks.bands[3] * 0.9, 7: looks.bands[7]}},
        {"bands": {3: looks.bands[7][:, :4]}},
        {"full_rows": {(3, 11): (15, looks.full_rows[3, 11][1])}},
        {"heads": (0, 0)},
        {"full_rows": {(3, 11): (0, looks.full_rows[3, 11][1] * 2)}},
    ]
    for changes in wrong:
        with pytest.raises(BadTrace):
            check_attention(but(looks, **changes))


def test_requests_are_checked_and_in_order():
    asked = AttentionRequest(layers=[5, 2, 5], heads=range(2), rows=[3, -1])
    assert (asked.layers, asked.heads, asked.rows) == ((2, 5), (0, 1), (3, -1))
    assert gl.AttentionRequest is AttentionRequest
    for bad in ({"bins": 0}, {"bins": 257}, {"top_k": -1}, {"top_k": 65}):
        with pytest.raises(LabError):
            AttentionRequest(**bad)

from __future__ import annotations

import dataclasses

import numpy as np
from support.attention_traces import arabic, long, picture, text

from gemma_lab.analysis.attention.rows import without_sink
from gemma_lab.widgets.attention.wire import (
    CHUNK,
    grid_buffer,
    key_buffer,
    layouts,
    map_buffer,
    row_buffer,
)
from gemma_lab.widgets.shared.wire import unpack


def test_a_layers_maps_travel_within_their_steps_and_their_sinks_apart() -> None:
    looks = text(300).attention
    arrays, meta = unpack(map_buffer(looks, 5))
    maps, sink = without_sink(looks, 5)
    assert meta == {"layer_index": 5}
    shown = (arrays["maps"] / 255.0) ** 2
    steps = np.abs(np.sqrt(shown) - np.sqrt(maps))
    assert steps.max() <= 0.5 / 255 + 1e-6
    np.testing.assert_allclose(arrays["first_token"] / 65535, sink, atol=1e-5)
    assert (arrays["scale_max"] > 0).all()
    for head in range(4):
        below = (maps[head][maps[head] > 0] <= arrays["scale_max"][head]).mean()
        assert 0.98 < below < 0.995


def test_heaviest_keys_travel_by_the_stretch_exact_to_their_steps() -> None:
    looks = text(1300, layers=2, heads=2).attention
    for start, count in ((0, CHUNK), (CHUNK, 1300 - CHUNK)):
        arrays, meta = unpack(key_buffer(looks, 1, start))
        here = slice(start, start + count)
        keys, weights = looks.top_keys(1)
        assert (meta["layer_index"], meta["start"], meta["count"], meta["k"]) == (1, start, count, 8)
        ids = np.where(arrays["keys"] == 65535, -1, arrays["keys"].astype(int))
        np.testing.assert_array_equal(ids, keys[:, here])
        np.testing.assert_allclose(arrays["key_weights"] / 65535, weights[:, here], atol=1e-5)
        np.testing.assert_allclose(
            arrays["first_token"] / 65535, looks.first_token_mass(1)[:, here], atol=1e-5
        )
        np.testing.assert_allclose(
            arrays["entropy"] / 65535 * np.log(1301), looks.entropy(1)[:, here], atol=1e-3
        )
        np.testing.assert_allclose(arrays["distance"] / 65535 * 1300, looks.distance(1)[:, here], atol=0.02)


def test_half_precision_and_long_texts_do_not_overflow() -> None:
    looks = long(70_000, layers=1, heads=2).attention
    arrays, meta = unpack(key_buffer(looks, 0, 68 * CHUNK))
    assert arrays["keys"].dtype == np.uint32
    assert meta["count"] == 70_000 - 68 * CHUNK
    keys, weights = looks.top_keys(0)
    np.testing.assert_array_equal(arrays["keys"].astype(np.int32), keys[:, 68 * CHUNK :])
    np.testing.assert_allclose(arrays["key_weights"] / 65535, weights[:, 68 * CHUNK :], atol=1e-3)


def test_masses_by_kind_and_missing_statistics() -> None:
    looks = picture().attention
    arrays, meta = unpack(key_buffer(looks, 5, 0))
    image = meta["labels"].index("image")
    np.testing.assert_allclose(
        arrays["mass"][image] / 255, looks.mass_by_label(5)["modality:image"], atol=0.003
    )
    bare = dataclasses.replace(looks, per_query={})
    arrays, meta = unpack(key_buffer(bare, 5, 0))
    assert (arrays, meta["k"], meta["labels"]) == ({}, 0, [])
    assert unpack(grid_buffer(bare))[1]["measures"] == []


def test_all_heads_travel_small_with_their_means() -> None:
    looks = picture().attention
    arrays, meta = unpack(grid_buffer(looks))
    assert arrays["thumbnails"].shape == (24, 24, 24)
    assert meta["measures"] == ["entropy", "first", "distance", "modality:image"]
    head = 4 * 5 + 2
    means = dict(zip(meta["measures"], arrays["means"][:, head].tolist(), strict=True))
    assert np.isclose(means["entropy"], looks.entropy(5)[2, 1:].mean(), rtol=1e-4)
    assert np.isclose(
        means["modality:image"], looks.mass_by_label(5)["modality:image"][2, 1:].mean(), rtol=1e-4
    )
    assert arrays["thumbnails"].max() == 255


def test_whole_rows_and_layouts_travel() -> None:
    looks = text(300, rows=(200,), layers=8, shared=2).attention
    arrays, _ = unpack(row_buffer({200: looks.row(7, 200)}, 7))
    np.testing.assert_allclose(arrays["row_200"] / 65535, looks.row(7, 200), atol=1e-5)
    told = layouts(looks)
    assert told[7] == {
        "layer": 7,
        "kind": "global",
        "window": None,
        "heads": 4,
        "kv_heads": 1,
        "kv_shared_from": 5,
        "k_eq_v": True,
    }
    assert told[0]["window"] == 24
    assert arabic().attention.bins == 39

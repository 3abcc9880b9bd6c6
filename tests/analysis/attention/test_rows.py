from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from support.attention_traces import arabic, attended, dense, picture, text
from support.routing_traces import arabic_trace

from gemma_lab.analysis.attention.rows import (
    attention_row,
    describe_pooling,
    head_index,
    image_patches,
    pool_maps,
    require_attention_maps,
    scale_max,
    without_sink,
)
from gemma_lab.errors import BadTrace, LabError
from gemma_lab.views.base.tokens import token_label


def test_the_first_token_is_taken_out_and_the_rest_is_what_was_there() -> None:
    for trace in (arabic(), text(300)):  # a bin a token, and several tokens a bin
        looks = trace.attention
        for layer in (0, 5):
            maps, sink = without_sink(looks, layer)
            np.testing.assert_allclose(maps.sum(-1) + sink, 1, atol=1e-5)
            assert (maps >= 0).all()
            first = np.add.reduceat(looks.first_token_mass(layer), looks.bin_edges[:-1], axis=1) / np.diff(
                looks.bin_edges
            )
            np.testing.assert_allclose(sink, first, atol=1e-3)
            np.testing.assert_allclose(maps[:, :, 1:], looks.pooled(layer)[:, :, 1:])


def test_without_statistics_a_bin_of_tokens_keeps_its_sink() -> None:
    looks = text(300).attention
    bare = dataclasses.replace(looks, per_query={})
    maps, sink = without_sink(bare, 5)
    np.testing.assert_array_equal(maps, looks.pooled(5))
    assert not sink.any()


def test_pooling_keeps_rows_whole_and_weighs_queries_by_their_number() -> None:
    looks = text(299).attention
    maps = looks.pooled(5)
    small = pool_maps(maps, looks.bin_edges, limit=30)
    assert small.shape == (4, 30, 30)
    np.testing.assert_allclose(small.sum(-1), 1, atol=1e-5)
    cuts = np.unique(np.linspace(0, 128, 31).round().astype(int))
    one = slice(cuts[3], cuts[4])
    weights = np.diff(looks.bin_edges)[one]
    expected = np.average(maps[2, one, : cuts[1]].sum(-1), weights=weights)
    assert small[2, 3, 0] == pytest.approx(expected, abs=1e-6)
    assert pool_maps(maps, looks.bin_edges, limit=200) is maps


def test_where_a_token_looks_is_as_exact_as_it_is_known() -> None:
    whole = text(300, rows=(250,))
    looks = whole.attention
    row, how = attention_row(whole, layer=5, query=250, head=2)
    assert how == "full row"
    np.testing.assert_array_equal(row[:251], looks.row(5, 250)[2])
    assert not row[251:].any()
    heavy, how = attention_row(whole, layer=5, query=249, head=2)
    assert how == "top keys"
    keys, weights = (each[2, 249] for each in looks.top_keys(5))
    assert heavy.sum() == pytest.approx(weights.sum(), abs=1e-6)
    assert heavy.argmax() == keys[0]
    mean, _ = attention_row(whole, layer=5, query=250)
    np.testing.assert_allclose(mean[:251], looks.row(5, 250).mean(0), atol=1e-7)
    coarse = attended(
        whole,
        dataclasses.replace(
            looks, full_rows={}, per_query={"first_token_mass": looks.per_query["first_token_mass"]}
        ),
    )
    flat, how = attention_row(coarse, layer=5, query=249, head=2)
    assert how == "pooled"
    assert flat.sum() == pytest.approx(1, abs=1e-4)
    fine, how = attention_row(arabic(), layer=5, query=20, head=1)
    assert (how, fine.sum()) == ("full row", pytest.approx(1, abs=1e-4))


def test_what_is_not_there_is_said() -> None:
    trace = arabic()
    with pytest.raises(BadTrace, match="no attention maps"):
        require_attention_maps(dataclasses.replace(trace, attention=None))
    with pytest.raises(BadTrace, match="no attention maps"):
        require_attention_maps(attended(trace, dataclasses.replace(trace.attention, bands={})))
    with pytest.raises(LabError, match="Head 9"):
        head_index(trace.attention, 9)
    with pytest.raises(LabError, match="no image 0"):
        image_patches(trace, 0)
    assert len(image_patches(picture(), 0)) == 192


def test_heads_are_counted_as_the_model_does() -> None:
    trace = arabic_trace()
    some = dataclasses.replace(dense(trace), heads=(1, 3, 4, 7))
    assert head_index(some, 4) == 2


def test_words_and_scales() -> None:
    assert describe_pooling(arabic().attention) == "each cell is one query and one key"
    assert "128 bins of up to 3 tokens" in describe_pooling(text(300).attention)
    assert scale_max(np.zeros(4)) == 1.0
    assert scale_max(np.array([0, 0, 0.5])) == 0.5
    names = [token_label(picture(), token) for token in (0, 4, 5)]
    assert names == ["<bos>", "<|image>", "column 1, row 1"]

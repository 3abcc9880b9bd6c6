"""How far layers see, counted pair by pair."""

from __future__ import annotations

import numpy as np
import pytest
from support.forged_heads import build_attention, even, looking, trace_of

from gemma_lab.analysis.attention.window_coverage import window_coverage

COUNT = 60


def test_pairs_outside_the_window_are_counted_one_by_one():
    layers = [[even(COUNT, window=8)], [even(COUNT, window=8)], [even(COUNT)], [even(COUNT, window=8)]]
    found = window_coverage(trace_of(build_attention(layers, windows=[8, 8, None, 8])))
    pairs = [(q, k) for q in range(COUNT) for k in range(q + 1)]
    outside = sum(q - k >= 8 for q, k in pairs) / len(pairs)
    np.testing.assert_allclose(found.outside, [outside, outside, 0, outside])
    assert found.receptive_field.tolist() == [8, 15, 60, 60]
    assert found.to_pandas().kind.tolist() == ["local", "local", "global", "local"]


def test_global_heads_beyond_the_window_between_bounds():
    far = looking(COUNT, np.maximum(-1, np.arange(COUNT) - 30), share=0.8)
    near = looking(COUNT, np.arange(COUNT) - 1, share=0.8)
    layers = [[even(COUNT, window=10)] * 2, [far, near]]
    found = window_coverage(trace_of(build_attention(layers, windows=[10, None], top_k=4)))
    assert found.heads == ((1, 0), (1, 1))
    for row, head in enumerate((far, near)):
        exact = np.mean([head[q, : q - 9].sum() for q in range(10, COUNT)])
        assert found.far_min[row] <= exact <= found.far_max[row]
    assert found.far_min[0] > 0.5 > found.far_max[1] * 0.9
    assert found.window == 10


@pytest.mark.parametrize("windows", [[None], [COUNT], [COUNT + 5]])
def test_where_nothing_is_out_of_sight(windows):
    found = window_coverage(trace_of(build_attention([[even(COUNT)]], windows=windows)))
    assert found.outside.tolist() == [0.0]
    assert not found.far_max.any()


def test_it_says_so_in_a_line():
    layers = [[even(COUNT, window=8)], [even(COUNT)]]
    found = window_coverage(trace_of(build_attention(layers, windows=[8, None])))
    assert repr(found).startswith("WindowCoverage(60 tokens: 1 of 2 layers local, up to 75%")

"""What every head looks at most, of chosen queries."""

from __future__ import annotations

import numpy as np
import pytest
from support.forged_heads import build_attention, even, looking, trace_of

from gemma_lab.analysis.attention.top_keys import (
    evenly_spaced,
    head_windows,
    recorded_heads,
    require_attention,
    top_keys,
)
from gemma_lab.errors import LabError


def test_heads_stand_one_below_the_other():
    attention = build_attention([[even(20), looking(20, [3] * 20)], [even(20)] * 2], windows=[None, 5])
    found = top_keys(attention, np.asarray([9, 19]))
    assert found.heads == recorded_heads(attention) == ((0, 0), (0, 1), (1, 0), (1, 1))
    assert found.keys.shape == found.weights.shape == (4, 2, 8)
    assert (found.keys[1, :, 0] == 3).all()
    assert found.visible.tolist() == [[10, 20], [10, 20], [5, 5], [5, 5]]
    np.testing.assert_allclose(
        found.mean_attention(found.keys == 3)[1], 0.9 + 0.1 * (1 / 10 + 1 / 20) / 2, rtol=1e-6
    )
    assert head_windows(attention).tolist() == [20, 20, 5, 5]


def test_queries_are_thinned_evenly():
    assert evenly_spaced(np.arange(10), 20).tolist() == list(range(10))
    some = evenly_spaced(np.arange(5000), 100)
    assert len(some) == 100
    assert (some[0], some[-1]) == (0, 4999)


def test_a_trace_without_attention_is_refused():
    trace = trace_of(build_attention([[even(4)]]))
    object.__setattr__(trace, "attention", None)
    with pytest.raises(LabError, match="has no attention"):
        require_attention(trace)

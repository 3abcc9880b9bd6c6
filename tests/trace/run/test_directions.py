"""A direction is more than rounding: what two lists of prompts share is refused, in every precision."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from gemma_lab.errors import BadEdit
from gemma_lab.trace.run.directions import _require_difference

#: The first tokens are the same, and are read in matrices of other shapes.
POSITIVE, NEGATIVE = ["The code is 75 and more words follow it."], ["The code is 31."]


@pytest.mark.parametrize("size", ["26B-A4B", "E2B", "31B"])
def test_what_both_lists_share_is_no_direction(tiny_lab, size):
    lab = tiny_lab(size)
    for layers in (None, [1]):
        with pytest.raises(BadEdit, match="length 0 but for rounding") as caught:
            lab.direction(POSITIVE, NEGATIVE, positions=[0, 1, 2], layers=layers)
        assert "positions=" in caught.value.hint
    assert lab.direction(POSITIVE, NEGATIVE).norms.all()


def check(parts, dtype=torch.float32, length=50.0):
    """Check differences that are given in parts of the stream's length."""
    difference = np.zeros((len(parts), 4))
    difference[:, 1] = np.array(parts) * length
    layers = tuple(range(3, 3 + len(parts)))
    _require_difference(SimpleNamespace(dtype=dtype), layers, difference, np.full(len(parts), length))


def test_a_direction_is_refused_where_all_layers_are_rounding():
    check([1e-7, 1e-4])  # rounding in one layer, more in the other
    check([0.02, 0.3], torch.bfloat16)
    check([0.002, 0.3], torch.float16)
    with pytest.raises(BadEdit, match=r"layers 3 to 4 .* 9\.0e-06 .* float32"):
        check([1e-7, 9e-6])
    with pytest.raises(BadEdit, match="bfloat16"):
        check([1e-3, 7e-3], torch.bfloat16)
    with pytest.raises(BadEdit, match=" float16"):
        check([1e-4, 9e-4], torch.float16)


def test_a_layer_without_any_difference_is_named():
    with pytest.raises(BadEdit, match="length 0 in 1 of 3") as caught:
        check([0.1, 0, 0.2])
    assert "layers=[3, 5]" in caught.value.hint

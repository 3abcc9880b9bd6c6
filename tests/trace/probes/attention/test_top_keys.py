"""The top_keys keys of a row are those that sorting the whole row gives."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from gemma_lab.trace.probes.attention.top_keys import top_keys

SPANS = [1, 7, 8, 33, 64, 96, 128, 160, 192, 320, 448, 1024, 1088, 4096, 4160]


@pytest.mark.parametrize("k", [1, 8, 20, 64])
@pytest.mark.parametrize("span", SPANS)
def test_they_are_those_of_sorted_rows(span, k):
    scores = torch.randn((2, 3, 5, span), generator=torch.Generator().manual_seed(span)) * 4
    scores[..., span // 2 :][scores[..., span // 2 :] < 1] = -1e30  # weights that are exactly zero
    rows, k = scores.softmax(dim=-1), min(k, span)
    values, places = top_keys(rows, k)
    np.testing.assert_array_equal(values, -np.sort(-rows.numpy(), axis=-1)[..., :k])
    np.testing.assert_array_equal(values, rows.gather(-1, places))
    assert (places.sort(dim=-1).values.diff(dim=-1) > 0).all()


def test_of_equal_weights_the_earlier_comes_first():
    rows = torch.full((1, 1, 40), 1 / 40)
    assert top_keys(rows, 5)[1].tolist() == [[[0, 1, 2, 3, 4]]]
    rows = torch.full((1, 160), 1e-3)
    rows[0, [70, 3, 140]] = 0.25
    assert top_keys(rows, 4)[1].tolist() == [[3, 70, 140, 0]]


def test_the_smallest_numbers_keep_their_order():
    rows = torch.tensor([[1e-45, 0.0, 1e-38, 3e-45, 1.0, 1e-44]])
    values, places = top_keys(rows, 6)
    assert places.tolist() == [[4, 2, 5, 3, 0, 1]]
    assert torch.equal(values, rows.gather(-1, places))


def test_rows_that_are_no_numbers_stay_so():
    assert top_keys(torch.full((2, 160), torch.nan), 3)[0].isnan().all()

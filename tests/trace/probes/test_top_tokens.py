"""The most likely tokens: those of a stable sort, with the argmax first."""

from __future__ import annotations

import pytest
import torch

from gemma_lab.trace.probes.top_tokens import top_tokens


@pytest.mark.parametrize("count", [0, 1, 5, 40])
def test_ties_are_in_the_order_of_their_ids(count):
    scores = torch.randint(0, 12, (50, 40), generator=torch.Generator().manual_seed(count)) / 16
    values, ids = top_tokens(scores, count)
    expected = scores.sort(dim=-1, descending=True, stable=True)
    assert torch.equal(values, expected.values[:, :count])
    assert torch.equal(ids, expected.indices[:, :count])
    if count:
        assert torch.equal(ids[:, 0], scores.argmax(-1))


def test_the_argmax_is_first_among_any_number_of_equals():
    scores = torch.zeros(300)
    assert int(top_tokens(scores, 3)[1][0]) == int(scores.argmax())

from __future__ import annotations

import numpy as np
import torch

from gemma_lab.trace.probes.attention.binning import Bins
from gemma_lab.trace.probes.attention.reductions import Pooled


def test_bins_cover_any_number_of_tokens_also_where_nothing_was_added() -> None:
    for tokens in (1, 8, 9, 297, 10_000):
        edges, maps = Bins(limit=8, expected=1).result(tokens)
        assert (edges[0], edges[-1], maps) == (0, tokens, {})
        assert len(edges) - 1 <= 8
        assert (np.diff(edges) >= 1).all()


def test_joined_bins_hold_what_was_in_both() -> None:
    bins = Bins(limit=4, expected=4)
    bins.add(0, 0, 0, torch.ones(2, 4, 4))
    bins.fit(8)
    edges, maps = bins.result(8)
    np.testing.assert_array_equal(edges, [0, 2, 4, 6, 8])
    np.testing.assert_allclose(maps[0][:, :2, :2], 4 / 2)  # four sums of one, over two queries
    assert not maps[0][:, 2:].any()


def test_blocks_are_put_where_their_bins_are():
    bins, part = Bins(limit=4, expected=4), torch.arange(2 * 3 * 1 * 2.0).view(2, 3, 1, 2)
    part[:, 0, :, 0] = part[:, 2, :, 1] = 0  # before the first key and after the last bin
    bins.put(0, Pooled(part, [0, 1, 3], [-1, 1, 3]))
    bins.put(0, Pooled(part[:, 1:2], [1], [1]))
    wanted = np.zeros((2, 4, 4), dtype=np.float32)
    wanted[:, 0, 0], wanted[:, 3, 3] = part[:, 0, 0, 1], part[:, 2, 0, 0]
    wanted[:, 1, 1:3] = 2 * part[:, 1, 0]
    np.testing.assert_array_equal(bins.result(4)[1][0], wanted)

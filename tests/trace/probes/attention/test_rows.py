"""Rows reduced in batch_blocks and blocks against whole rows in float64: any bins, labels, masks and
pieces."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from gemma_lab.trace.probes.attention.binning import Bins
from gemma_lab.trace.probes.attention.rows import AttentionRows, RowRequest, block_length
from gemma_lab.trace.probes.attention.visible_keys import causal_blocks, masked_blocks, shrink_block

HEADS, KV_HEADS, DIM, TOP = 4, 2, 16, 8


def local_mask(queries, keys, window, *, picture=None):
    at = torch.arange(queries)[:, None] + keys - queries
    mask = (torch.arange(keys) <= at) & (torch.arange(keys) > at - window)
    if picture is not None:
        mask[picture[0] - keys + queries : picture[1] - keys + queries, picture[0] : picture[1]] = True
    return mask[None]


def looked(queries, keys, *, mask=None, window=None, width=4, labels=None, first_key=0, rows=()):
    """Return what a layer gives, its maps, and its whole rows in float64."""
    draw = torch.Generator().manual_seed(queries + width)
    query = torch.randn((HEADS, queries, DIM), generator=draw)
    key = torch.randn((KV_HEADS, keys, DIM), generator=draw)
    lead, tokens = keys - queries, first_key + keys
    labels = torch.ones((tokens, 1)) if labels is None else labels
    changes = (labels[1:] != labels[:-1]).any(dim=1).nonzero().flatten() + 1
    question = RowRequest(TOP, width, labels, [0, *changes.tolist(), tokens], frozenset(rows))
    block = block_length(window=window, width=width)
    sights = (
        causal_blocks(queries, keys, lead=lead, block=block, max_size=4096)
        if mask is None
        else masked_blocks(mask, lead=lead, block=block)
    )
    gaze = AttentionRows(
        query, key, scaling=0.5, first_query=first_key + lead, first_key=first_key, mask=mask
    )
    answer = gaze.compute(question, sights)
    bins = Bins(limit=-(-tokens // width), expected=tokens)
    for part in answer.sums:
        bins.put(0, part)
    seen = local_mask(queries, keys, keys) if mask is None else mask
    scores = (query @ key.repeat_interleave(HEADS // KV_HEADS, 0).mT * 0.5).double()
    whole = torch.zeros((HEADS, queries, tokens), dtype=torch.float64)
    whole[..., first_key:] = scores.masked_fill(~seen, -torch.inf).softmax(dim=-1)
    return answer, bins._sums[0].numpy(), whole.numpy()


def check(answer, maps, whole, *, first_query=0, width=4, labels=None):
    """Compare every summary with that of whole rows ``[heads, queries, tokens]``."""
    numbers = {name: array.numpy() for name, array in answer.numbers.items()}
    tokens, queries = whole.shape[2], np.arange(whole.shape[1]) + first_query
    by_key = np.add.reduceat(whole, np.arange(0, tokens, width), axis=2)
    pooled = np.zeros(maps.shape)
    for row, query in enumerate(queries):
        pooled[:, query // width] += by_key[:, row]
    np.testing.assert_allclose(maps, pooled, atol=1e-5)
    far = (whole * np.abs(queries[:, None] - np.arange(tokens))).sum(-1)
    assert (np.abs(numbers["distance"].T - far) <= 1e-5 * np.maximum(1, far)).all()
    entropy = -(whole * np.log(np.where(whole > 0, whole, 1))).sum(-1)
    np.testing.assert_allclose(numbers["entropy"].T, entropy, atol=1e-5)
    np.testing.assert_allclose(numbers["first_token_mass"].T, whole[:, :, 0], atol=1e-6)
    labels = np.ones((tokens, 1)) if labels is None else labels.numpy()
    np.testing.assert_allclose(numbers["mass_by_label"].transpose(2, 0, 1), whole @ labels, atol=2e-6)
    keys, weights = numbers["keys"].swapaxes(0, 1), numbers["weights"].swapaxes(0, 1)
    np.testing.assert_allclose(weights[..., :tokens], -np.sort(-whole, -1)[..., :TOP], atol=1e-6)
    at = np.take_along_axis(whole, np.maximum(keys, 0), -1)
    np.testing.assert_allclose(weights, np.where(keys < 0, 0, at), atol=1e-6)
    np.testing.assert_array_equal((keys >= 0).sum(-1), np.minimum(TOP, (whole > 0).sum(-1)))


@pytest.mark.parametrize("width", [1, 3, 4, 8, 23, 24, 32, 37, 64, 100, 128])
def test_bins_of_any_width(width):
    check(*looked(500, 500, mask=local_mask(500, 500, 70), window=70, width=width), width=width)
    check(*looked(300, 300, width=width), width=width)


@pytest.mark.parametrize("window", [5, 32, 33, 128])
@pytest.mark.parametrize("queries", [1, 31, 64, 97, 333])
def test_windows_and_lengths(window, queries):
    check(*looked(queries, queries, mask=local_mask(queries, queries, window), window=window))


@pytest.mark.parametrize("runs", [1, 7, 60])
def test_labels_of_any_length(runs):
    kind = torch.arange(400) * runs // 400 % 3
    labels = torch.nn.functional.one_hot(kind, 3).float()
    check(*looked(400, 400, mask=local_mask(400, 400, 60), window=60, labels=labels), labels=labels)
    check(*looked(400, 400, labels=labels), labels=labels)


@pytest.mark.parametrize(("first_key", "width"), [(0, 8), (96, 8), (131, 8), (131, 24)])
def test_pieces_that_go_on(first_key, width):
    mask = local_mask(256, 256 + 63, 64)
    found = looked(256, 256 + 63, mask=mask, window=64, width=width, first_key=first_key)
    check(*found, first_query=first_key + 63, width=width)
    check(*looked(70, 400, width=width), first_query=330, width=width)


@pytest.mark.parametrize("picture", [(10, 40), (100, 170), (250, 300)])
def test_a_picture_that_sees_all_of_itself(picture):
    mask = local_mask(300, 300, 40, picture=picture)
    check(*looked(300, 300, mask=mask, window=40))


def test_rows_are_kept_from_their_first_key_on():
    answer, _, whole = looked(300, 300, mask=local_mask(300, 300, 50), window=50, rows=(0, 40, 299))
    for query in (0, 40, 299):
        first, row = answer.rows[query]
        assert first >= 0
        short = whole[:, query, first : first + row.shape[1]]
        np.testing.assert_allclose(row[:, : short.shape[1]], short, atol=1e-6)
        np.testing.assert_allclose(short.sum(-1), 1)
    first, row = answer.last
    np.testing.assert_allclose(row[:, : 300 - first], whole[:, 299, first:], atol=1e-6)


def test_masks_of_single_heads_and_masks_that_are_added():
    mask = local_mask(200, 200, 30).repeat(HEADS, 1, 1)
    mask[1] = local_mask(200, 200, 90)[0]
    check(*looked(200, 200, mask=mask, window=90))
    one = local_mask(200, 200, 30)
    added = torch.where(one, 0.0, torch.finfo(torch.float32).min)
    plain, same = (
        AttentionRows(*keys_and_queries(), scaling=1, first_query=0, first_key=0, mask=m)
        for m in (one, added)
    )
    asked = RowRequest(TOP, 4, torch.ones((200, 1)), (0, 200))
    found = [gaze.compute(asked, masked_blocks(gaze.mask, lead=0, block=32)) for gaze in (plain, same)]
    for name, array in found[0].numbers.items():
        torch.testing.assert_close(array, found[1].numbers[name], atol=1e-5, rtol=1e-5)


def keys_and_queries():
    draw = torch.Generator().manual_seed(3)
    return torch.randn((HEADS, 200, DIM), generator=draw), torch.randn((KV_HEADS, 200, DIM), generator=draw)


def test_blocks_fit_the_room_there_is():
    assert shrink_block(64, keys=100, max_size=6400) == 64
    assert shrink_block(64, keys=200, max_size=6400) == 32
    assert shrink_block(64, keys=800, max_size=6400) == 16
    assert shrink_block(64, keys=10**6, max_size=6400) == 4
    blocks = list(causal_blocks(1000, 1000, lead=0, block=64, max_size=16000))
    assert [sight.start for sight in blocks[1:]] == [sight.stop for sight in blocks[:-1]]
    assert blocks[-1].stop == 1000
    assert max((s.stop - s.start) * s.last for s in blocks) <= 2 * 16000

"""Every summary of the attention against eager tensors, on tiny checkpoints of all five shapes.

The reference is transformers' own eager function on the same queries and keys, reduced here by definition, in
float64; distances are compared as shares of the length. Tests of the probe hold the same for pictures,
padding, pieces and generation; this prints the largest difference of each shape.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch
from support import shapes
from transformers.models.gemma4.modeling_gemma4 import eager_attention_forward

from gemma_lab.trace.probes.attention.interface import AttentionTaps
from gemma_lab.trace.probes.attention.probe import AttentionProbe
from gemma_lab.trace.probes.attention.taps import AttentionTap
from gemma_lab.trace.probes.recorder import Recorder
from gemma_lab.trace.probes.routing import RoutingProbe
from gemma_lab.trace.records.attention import AttentionRequest

TOKENS, TOP_K, BINS, ROW = 96, 6, 16, 77


class Eager(AttentionTap):
    """Computes every layer's weights by transformers' eager function from the same queries and keys."""

    def __init__(self) -> None:
        self.weights: dict[int, np.ndarray] = {}

    def on_attention(self, layer, module, query, key, value, mask, is_causal, positions, scaling) -> None:
        """Keep float64 ``[H, T, T]``."""
        hidden = torch.finfo(query.dtype).min
        if mask is None:
            seen = torch.ones(1, 1, query.shape[2], key.shape[2], dtype=torch.bool)
            mask = seen.tril(key.shape[2] - query.shape[2]) if is_causal else seen
        if mask.dtype == torch.bool:
            mask = torch.zeros(mask.shape).masked_fill(~mask, hidden)
        _, weights = eager_attention_forward(module, query, key, value, mask, scaling=scaling)
        self.weights[layer] = weights[0].double().numpy()


def differences(found, layer: int, reference: np.ndarray) -> dict[str, float]:
    """Return the largest difference of every summary of one layer from the eager weights."""
    edges = found.bin_edges
    by_key = np.stack([reference[:, :, a:b].sum(-1) for a, b in pairwise(edges)], -1)
    pooled = np.stack([by_key[:, a:b].mean(1) for a, b in pairwise(edges)], 1)
    safe = np.where(reference > 0, reference, 1)
    entropy = -(reference * np.log(safe)).sum(-1)
    places = np.arange(reference.shape[-1])
    distance = (reference * np.abs(places[:, None] - places)).sum(-1)
    keys, weights = found.top_keys(layer)
    ordered = -np.sort(-reference, -1)[:, :, :TOP_K]
    at_keys = np.where(keys < 0, 0, np.take_along_axis(reference, np.maximum(keys, 0), -1))
    return {
        "maps": np.abs(found.pooled(layer) - pooled).max(),
        "entropy": np.abs(found.entropy(layer) - entropy).max(),
        "first": np.abs(found.first_token_mass(layer) - reference[:, :, 0]).max(),
        "distance": np.abs(found.distance(layer) - distance).max() / TOKENS,
        "top weights": np.abs(np.where(keys < 0, 0, weights) - np.where(keys < 0, 0, ordered)).max(),
        "top keys": np.abs(np.where(keys < 0, 0, weights) - at_keys).max(),
        "row": np.abs(found.row(layer, ROW) - reference[:, ROW, : ROW + 1]).max(),
    }


def at_their_rank(found, layer: int, reference: np.ndarray) -> float:
    """Return the share of kept keys whose eager weight is that of their rank; equal ones may swap."""
    keys, _ = found.top_keys(layer)
    ordered = -np.sort(-reference, -1)[:, :, :TOP_K]
    theirs = np.take_along_axis(reference, np.maximum(keys, 0), -1)
    return float((np.abs(theirs - ordered) <= 1e-6)[keys >= 0].mean())


@pytest.mark.parametrize("size", shapes.SIZES)
@torch.no_grad()
def test_summaries_equal_eager_tensors(size, tiny_lab, record):
    model = tiny_lab(size).model
    ids = torch.randint(300, 400, (1, TOKENS), generator=torch.Generator().manual_seed(1))
    plain = model(input_ids=ids, use_cache=False).logits
    attention = AttentionProbe(
        AttentionRequest(rows=(ROW,), top_k=TOP_K, bins=BINS), expected=TOKENS, precision="full"
    )
    probes = [attention] + ([RoutingProbe()] if size == "26B-A4B" else [])
    with Recorder(model, probes):
        traced = model(input_ids=ids, use_cache=False).logits
    with AttentionTaps(model, [eager := Eager()]):
        model(input_ids=ids, use_cache=False)
    reference, found = eager.weights, attention.result()
    worst = {
        layout.layer: differences(found, layout.layer, reference[layout.layer]) for layout in found.layers
    }
    most = max(value for layer in worst.values() for value in layer.values())
    which = max(((v, n, at) for at, layer in worst.items() for n, v in layer.items()))[1:]
    changed = int((plain != traced).sum())
    note = f"largest of 7 summaries × {len(worst)} layers: {which[0]} in layer {which[1]}"
    record("exactness", most, "≤ 1e-5", "", note, case=size)
    ranks = [at_their_rank(found, layer, reference[layer]) for layer in worst]
    record(
        "exact-ids", 100 * float(np.mean(ranks)), "= 100", "%", f"top {TOP_K} keys of every row", case=size
    )
    record("exact-logits", changed, "= 0", "logits differ", f"of {plain.numel():,}", case=size)
    assert most <= 1e-5, worst
    assert changed == 0

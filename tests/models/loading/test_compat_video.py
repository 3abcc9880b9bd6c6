"""Video features that are a tuple answer what both old and new versions of transformers ask of them."""

from __future__ import annotations

from types import SimpleNamespace

import torch

from gemma_lab.models.loading.compat_video import Joined, repair_videos


def test_joined_features_are_a_tensor_to_one_and_a_tuple_to_the_other():
    parts = (torch.ones(2, 3), torch.zeros(1, 3))
    joined = Joined(parts)
    assert torch.equal(joined.to("cpu", torch.float64), torch.cat(parts).double())
    assert torch.equal(torch.cat(joined), torch.cat(parts))


def test_repairing_twice_changes_nothing_more():
    inner = SimpleNamespace(get_video_features=lambda: SimpleNamespace(pooler_output=(torch.ones(1, 2),)))
    model = SimpleNamespace(model=inner)
    repair_videos(model)
    first = inner.get_video_features
    repair_videos(model)
    assert inner.get_video_features is first
    assert isinstance(first().pooler_output, Joined)
    repair_videos(SimpleNamespace())  # a decoder alone has none


def test_what_is_a_tensor_already_stays_one():
    inner = SimpleNamespace(get_video_features=lambda: SimpleNamespace(pooler_output=torch.ones(1, 2)))
    repair_videos(SimpleNamespace(model=inner))
    assert isinstance(inner.get_video_features().pooler_output, torch.Tensor)

"""Work around a defect of transformers 5.15: its Gemma 4 cannot take the videos that it prepares.

``Gemma4Model.get_video_features`` returns a tuple with one tensor per video, and ``forward`` calls ``.to`` on
it. Later versions join the tuple.
"""

from __future__ import annotations

from typing import Any

import torch


class Joined(tuple[torch.Tensor, ...]):
    """A tuple of the features of several videos, with the method ``to`` of a tensor."""

    __slots__ = ()

    def to(self, *where: Any, **more: Any) -> torch.Tensor:
        """Return all features, one video after the other, on a device and in a dtype."""
        return torch.cat(list(self)).to(*where, **more)


def repair_videos(model: Any) -> None:
    """Make a model's ``forward`` accept its own video features; no effect on releases that do.

    Parameters
    ----------
    model
        A ``…ForConditionalGeneration`` of transformers.
    """
    inner = getattr(model, "model", None)
    plain = getattr(inner, "get_video_features", None)
    if plain is None or getattr(plain, "repaired", False):
        return

    def get_video_features(*arguments: Any, **options: Any) -> Any:
        features = plain(*arguments, **options)
        if isinstance(features.pooler_output, tuple):
            features.pooler_output = Joined(features.pooler_output)
        return features

    get_video_features.repaired = True  # type: ignore[attr-defined]
    inner.get_video_features = get_video_features  # type: ignore[union-attr]

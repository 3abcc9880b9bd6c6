"""One defect of transformers 5.15 to be worked round: its Gemma 4 cannot take the videos that it prepares.

``Gemma4Model.get_video_features`` returns one tensor a video in a tuple, and ``forward`` asks that tuple for
``.to``, which it has not. Later versions join the tuple.
"""

from __future__ import annotations

from typing import Any

import torch


class Joined(tuple[torch.Tensor, ...]):
    """Features of several videos that answer ``.to`` as one tensor would; a tuple to whoever joins them."""

    __slots__ = ()

    def to(self, *where: Any, **more: Any) -> torch.Tensor:
        """Return all features, one video after the other, on a device and in a dtype."""
        return torch.cat(list(self)).to(*where, **more)


def repair_videos(model: Any) -> None:
    """Make a model's own ``forward`` understand its video features; does nothing where it does already.

    Parameters
    ----------
    model
        A ``…ForConditionalGeneration`` of transformers.
    """
    inner = getattr(model, "model", None)
    plain = getattr(inner, "get_video_features", None)
    if plain is None or getattr(plain, "repaired", False):
        return

    def get_video_features(*given: Any, **named: Any) -> Any:
        features = plain(*given, **named)
        if isinstance(features.pooler_output, tuple):
            features.pooler_output = Joined(features.pooler_output)
        return features

    get_video_features.repaired = True  # type: ignore[attr-defined]
    inner.get_video_features = get_video_features  # type: ignore[union-attr]

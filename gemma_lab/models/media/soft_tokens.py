"""The image-token budget: how many soft tokens a picture, or a frame of a video, may cost."""

from __future__ import annotations

import math
from typing import Any

from ...errors import BadMedia

#: ``max_soft_tokens`` that transformers' Gemma 4 processors take.
SOFT_TOKEN_LIMITS = (70, 140, 280, 560, 1120)


def check_max_soft_tokens(max_soft_tokens: Any) -> int | None:
    """Return a budget, or None for the processor's own.

    Raises
    ------
    BadMedia
        If it is none of `SOFT_TOKEN_LIMITS`.
    """
    if max_soft_tokens is None:
        return None
    if isinstance(max_soft_tokens, bool) or max_soft_tokens not in SOFT_TOKEN_LIMITS:
        raise BadMedia(
            f"budget={max_soft_tokens!r} is none of the budgets that Gemma 4 was trained with.",
            hint="Soft tokens a picture: " + ", ".join(map(str, SOFT_TOKEN_LIMITS)) + ".",
        )
    return int(max_soft_tokens)


def soft_tokens(size: tuple[int, int], *, max_soft_tokens: int, patch: int = 16, pooling: int = 3) -> int:
    """Return how many soft tokens a picture costs, without looking at its pixels.

    Parameters
    ----------
    size
        ``(width, height)`` in pixels.
    max_soft_tokens
        Soft tokens at most.
    patch, pooling
        Pixels on the side of a patch, and patches on the side of a soft token (``patch_size`` and
        ``pooling_kernel_size`` of the processor).

    Notes
    -----
    The rule of ``get_aspect_ratio_preserving_size`` (transformers, ``processing_gemma4.py``): both sides are
    scaled by ``sqrt(budget · pooling² · patch² / (width · height))`` and cut to whole soft tokens; a side
    that becomes none is one, and the other then as long as the ratio of the sides, cut to a whole number.
    """
    width, height = size
    side = patch * pooling
    factor = math.sqrt(max_soft_tokens * side**2 / (width * height))
    columns, rows = math.floor(factor * width / side), math.floor(factor * height / side)
    if not rows:
        rows, columns = 1, min(width // height, max_soft_tokens)
    elif not columns:
        columns, rows = 1, min(height // width, max_soft_tokens)
    return rows * columns

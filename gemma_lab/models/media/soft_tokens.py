"""The limit of soft tokens per image or frame of a video, and how many an image takes."""

from __future__ import annotations

import math
from typing import Any

from ...checks import short_repr
from ...errors import BadMedia
from .arguments import as_number

#: ``max_soft_tokens`` that transformers' Gemma 4 processors take.
SOFT_TOKEN_LIMITS = (70, 140, 280, 560, 1120)


def check_max_soft_tokens(max_soft_tokens: Any) -> int | None:
    """Return a limit of soft tokens as an `int`; None, for the processor's own, stays None.

    Raises
    ------
    BadMedia
        If it is not one of `SOFT_TOKEN_LIMITS`.
    """
    if max_soft_tokens is None:
        return None
    number = as_number(max_soft_tokens)
    if number not in SOFT_TOKEN_LIMITS:
        raise BadMedia(
            f"max_soft_tokens={short_repr(max_soft_tokens)} is not a limit that Gemma 4 was trained with.",
            hint="Soft tokens per image: " + ", ".join(map(str, SOFT_TOKEN_LIMITS)) + ".",
        )
    return int(number)


def soft_tokens(size: tuple[int, int], *, max_soft_tokens: int, patch: int = 16, pooling: int = 3) -> int:
    """Return how many soft tokens an image takes, from its size.

    Parameters
    ----------
    size
        ``(width, height)`` in pixels.
    max_soft_tokens
        Their limit.
    patch, pooling
        Side of a patch in pixels, and side of a soft token in patches (``patch_size`` and
        ``pooling_kernel_size`` of the processor).

    Notes
    -----
    The rule of ``get_aspect_ratio_preserving_size`` (transformers, ``processing_gemma4.py``): both sides are
    scaled by ``sqrt(max_soft_tokens · pooling² · patch² / (width · height))`` and rounded down to whole soft
    tokens; a side that becomes 0 is 1, and the other the ratio of the sides, rounded down.
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

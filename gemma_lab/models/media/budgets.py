"""The image-token budget: how many soft tokens a picture, or a frame of a video, may cost."""

from __future__ import annotations

from typing import Any

from ...errors import BadMedia

#: ``max_soft_tokens`` that transformers' Gemma 4 processors take.
BUDGETS = (70, 140, 280, 560, 1120)


def checked_budget(budget: Any) -> int | None:
    """Return a budget, or None for the processor's own.

    Raises
    ------
    BadMedia
        If it is none of `BUDGETS`.
    """
    if budget is None:
        return None
    if isinstance(budget, bool) or budget not in BUDGETS:
        raise BadMedia(
            f"budget={budget!r} is none of the budgets that Gemma 4 was trained with.",
            hint="Soft tokens a picture: " + ", ".join(map(str, BUDGETS)) + ".",
        )
    return int(budget)

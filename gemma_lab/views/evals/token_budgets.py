"""Cost, time and accuracy by limit of soft tokens, side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..base.figure import FAINT, OKABE_ITO, Plot, hide_frame, new_figure


@dataclass(frozen=True)
class BudgetResult:
    """Result of asking questions under one limit of soft tokens.

    Attributes
    ----------
    max_soft_tokens
        Largest number of soft tokens per image (``max_soft_tokens``).
    tokens
        Soft tokens that an image took.
    seconds
        Median time from question to answer.
    right, asked
        Number of correct answers, and of questions.
    interval
        95 % interval of the accuracy, 0 to 1.
    """

    max_soft_tokens: int
    tokens: int
    seconds: float
    right: int
    asked: int
    interval: tuple[float, float]


def token_budget_figure(rows: Sequence[BudgetResult], *, model: str) -> Plot:
    """Draw soft tokens, seconds and accuracy by limit, one panel each.

    Parameters
    ----------
    rows
        One result per limit, in order.
    model
        Name of the model.
    """
    places = range(len(rows))
    with new_figure(8.4, 2.9, ncols=3) as (figure, axes):
        cost, time, right = axes
        cost.bar(places, [row.tokens for row in rows], color=OKABE_ITO["sky"], width=0.7)
        for place, row in zip(places, rows, strict=True):
            cost.annotate(f"{row.tokens:,}", (place, row.tokens), ha="center", va="bottom", fontsize=8.5)
        cost.set_title("soft tokens per image")
        time.plot(places, [row.seconds for row in rows], "o-", color=OKABE_ITO["vermillion"], linewidth=2)
        time.set_ylim(bottom=0)
        time.set_title("seconds per answer")
        for place, row in zip(places, rows, strict=True):
            low, high = row.interval
            right.plot([place, place], [100 * low, 100 * high], color=OKABE_ITO["blue"], linewidth=2.2)
            right.plot(place, 100 * row.right / row.asked, "o", color=OKABE_ITO["blue"], markersize=7)
        right.set_ylim(0, 103)
        right.set_title("accuracy, % (95 % interval)")
        for one in axes:
            one.set_xticks(list(places), [f"{row.max_soft_tokens:,}" for row in rows])
            one.set_xlabel("max_soft_tokens")
            one.grid(axis="y", color=FAINT, linewidth=0.8)
            one.set_axisbelow(True)
            hide_frame(one, keep="bottom")
    # seconds differ from run to run, so they are left out of the text that notebook outputs are compared by
    counts = ", ".join(f"{row.max_soft_tokens}: {row.right}/{row.asked}" for row in rows)
    return Plot(figure, text=f"{model} by max_soft_tokens, right answers: {counts}.")

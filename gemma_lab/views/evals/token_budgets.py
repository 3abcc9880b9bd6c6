"""What a budget of soft tokens buys: cost, time and right answers, side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..base.figure import FAINT, OKABE_ITO, Plot, hide_frame, new_figure


@dataclass(frozen=True)
class BudgetResult:
    """What came of asking some questions under one budget.

    Attributes
    ----------
    budget
        Soft tokens that a picture may cost at most.
    tokens
        Soft tokens that one did cost.
    seconds
        From the question to the answer, the middle one of all questions.
    right, asked
        How many answers were right, of how many.
    interval
        The 95 % interval of that share, 0 to 1.
    """

    budget: int
    tokens: int
    seconds: float
    right: int
    asked: int
    interval: tuple[float, float]


def token_budget_figure(rows: Sequence[BudgetResult], *, model: str) -> Plot:
    """Return soft tokens, seconds and the share of right answers by budget, one panel each."""
    places = range(len(rows))
    with new_figure(8.4, 2.9, ncols=3) as (figure, axes):
        cost, time, right = axes
        cost.bar(places, [row.tokens for row in rows], color=OKABE_ITO["sky"], width=0.7)
        for place, row in zip(places, rows, strict=True):
            cost.annotate(f"{row.tokens:,}", (place, row.tokens), ha="center", va="bottom", fontsize=8.5)
        cost.set_title("soft tokens a picture")
        time.plot(places, [row.seconds for row in rows], "o-", color=OKABE_ITO["vermillion"], linewidth=2)
        time.set_ylim(bottom=0)
        time.set_title("seconds an answer")
        for place, row in zip(places, rows, strict=True):
            low, high = row.interval
            right.plot([place, place], [100 * low, 100 * high], color=OKABE_ITO["blue"], linewidth=2.2)
            right.plot(place, 100 * row.right / row.asked, "o", color=OKABE_ITO["blue"], markersize=7)
        right.set_ylim(0, 103)
        right.set_title("right answers, % (95 %)")
        for one in axes:
            one.set_xticks(list(places), [f"{row.budget:,}" for row in rows])
            one.set_xlabel("budget, soft tokens")
            one.grid(axis="y", color=FAINT, linewidth=0.8)
            one.set_axisbelow(True)
            hide_frame(one, keep="bottom")
    # seconds differ from run to run: they are drawn, and take no part in the text that notebooks compare
    told = ", ".join(f"{row.budget}: {row.right}/{row.asked}" for row in rows)
    return Plot(figure, text=f"{model} by budget of soft tokens, right answers: {told}.")

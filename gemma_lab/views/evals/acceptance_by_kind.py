"""Figure of the acceptance of drafted tokens by kind of text."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..base.figure import FAINT, OKABE_ITO, Plot, hide_frame, new_figure

if TYPE_CHECKING:
    from ...evals.acceptance_by_kind import AcceptanceByKind


def draft_acceptance_figure(data: AcceptanceByKind) -> Plot:
    """Draw the acceptance of each kind of text with its 95 % interval, best first.

    Parameters
    ----------
    data
        From `gemma_lab.evals.draft_acceptance`.
    """
    kinds = [kind for kind in data.kinds if data.counts[kind][0]]
    kinds.sort(key=data.rate, reverse=True)
    with new_figure(7.0, 1.3 + 0.32 * len(kinds)) as (figure, axes):
        for place, kind in enumerate(kinds):
            low, high = data.interval(kind)
            axes.plot([low, high], [place, place], color=OKABE_ITO["sky"], lw=4, solid_capstyle="butt")
            axes.plot(data.rate(kind), place, "o", color=OKABE_ITO["blue"], ms=6)
            label = f"{data.tokens_per_pass(kind):.2f} tokens/pass, n = {data.counts[kind][0]:,}"
            axes.text(1.02, place, label, va="center", fontsize=8.5, transform=axes.get_yaxis_transform())
        axes.set_yticks(range(len(kinds)), kinds)
        axes.set_ylim(len(kinds) - 0.4, -0.6)
        axes.set_xlim(0, 1)
        axes.grid(axis="x", color=FAINT, lw=0.8)
        axes.set_axisbelow(True)
        axes.set_xlabel("accepted ÷ examined drafted tokens (line: 95 % interval)")
        axes.set_title(f"Acceptance, up to {data.draft_tokens} drafted tokens per pass")
        axes.tick_params(axis="y", length=0)
        hide_frame(axes, keep="bottom")
    parts = "; ".join(
        f"{kind} {data.rate(kind):.0%} ({data.tokens_per_pass(kind):.2f} tokens per pass)" for kind in kinds
    )
    return Plot(figure, text=f"Acceptance of drafted tokens: {parts}")

"""Paired answers to the same questions as a figure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..base.figure import OKABE_ITO, Plot, new_figure

if TYPE_CHECKING:
    from ...evals.statistics import PairedAnswers


def paired_figure(data: PairedAnswers) -> Plot:
    """Draw how many questions both, one, or neither of two series answered correctly.

    Parameters
    ----------
    data
        From `gemma_lab.evals.mcnemar_test`.
    """
    counts = {
        "both": data.both,
        "only the first": data.first,
        "only the second": data.second,
        "neither": data.neither,
    }
    colours = [OKABE_ITO[name] for name in ("grey", "blue", "orange", "grey")]
    with new_figure(6.0, 2.2) as (figure, axes):
        bars = axes.barh(range(4), list(counts.values()), color=colours, height=0.7)
        axes.bar_label(bars, padding=3)
        axes.set_yticks(range(4), list(counts))
        axes.set(
            ylim=(3.6, -0.6), xlabel="questions", title=f"Correct answers (McNemar p = {data.p_value:.2g})"
        )
        axes.tick_params(axis="y", length=0)
    listed = ", ".join(f"{name} {count}" for name, count in counts.items())
    return Plot(figure, text=f"Correct answers to the same questions: {listed}; p = {data.p_value:.2g}")

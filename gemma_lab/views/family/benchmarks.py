"""The published benchmarks as a dot plot."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ...family.published import MODELS, Benchmark, Published, published
from ..base.figure import FAINT, Plot, hide_frame, new_figure
from .figures import MODEL_STYLES

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def benchmarks_figure(data: Published | None = None) -> Plot:
    """Draw every published benchmark as a row of dots, one per model.

    Percentages share one axis; every other benchmark has its own, oriented so that better is to the right.

    Parameters
    ----------
    data
        Default: `gemma_lab.published()`.
    """
    data = data or published()
    shared = [row for row in data if row.unit == "%"]
    single = [row for row in data if row.unit != "%"]
    heights = [len(shared), *([1.0] * len(single))]
    with new_figure(
        10.0, 1.5 + 0.36 * sum(heights) + 0.25 * len(single), nrows=len(heights), height_ratios=heights
    ) as (
        figure,
        panels,
    ):
        _panel(panels[0], shared)
        panels[0].set(xlim=(0, 100), xlabel="per cent, higher is better")
        for axes, row in zip(panels[1:], single, strict=True):
            _panel(axes, [row])
            _turn(axes, row)
        handles, labels = panels[0].get_legend_handles_labels()
        figure.legend(
            handles, labels, loc="outside upper left", ncols=len(MODELS), fontsize=9.5, handletextpad=0.2
        )
    return Plot(
        figure,
        text=f"Published benchmarks: {len(data)} rows, {len(MODELS)} models; numbers in gl.published()",
    )


def _panel(axes: Axes, rows: Sequence[Benchmark]) -> None:
    for y, row in enumerate(rows):
        scores = row.scores
        axes.plot([min(scores.values()), max(scores.values())], [y, y], color=FAINT, lw=2, zorder=1)
    for model in MODELS:
        colour, marker = MODEL_STYLES[model]
        known = [(row.scores[model], y) for y, row in enumerate(rows) if model in row.scores]
        xs, ys = zip(*known, strict=True) if known else ((), ())
        axes.plot(
            xs, ys, ls="", marker=marker, color=colour, ms=7.5, mew=1.6, label=model, zorder=2, alpha=0.9
        )
    axes.set_yticks(range(len(rows)), [row.name for row in rows])
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="x", color=FAINT, lw=0.6)
    axes.set_axisbelow(True)
    hide_frame(axes, keep="bottom")


def _turn(axes: Axes, row: Benchmark) -> None:
    """Give one benchmark its own axis from 0, reversed if lower is better."""
    top = max(row.scores.values()) * 1.08
    axes.set_xlim((0, top) if row.better == "higher" else (top, 0))
    axes.set_xlabel(f"{row.unit or 'no unit named'}, {row.better} is better", fontsize=8.5, labelpad=1)

"""An ablation test as a figure: the effect of a set beside those of matched random sets."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ..base.figure import FAINT, INK, OKABE_ITO, Plot, hide_frame, new_figure

if TYPE_CHECKING:
    from ...evals.ablation.result import AblationTest


def ablation_test_figure(data: AblationTest) -> Plot:
    """Draw the effect of an ablated set beside those of random sets: the test's measure, and each group.

    Parameters
    ----------
    data
        From `gemma_lab.evals.ablate_experts` or `gemma_lab.evals.ablate_heads`, or of a study.
    """
    frame = data.to_pandas()
    groups = np.array(data.groups)
    labels = [f"{entry.group} ({entry.examples})" for entry in frame.itertuples()]
    target = data.measure.target
    labels[0] = f"all questions ({len(data.intact)})"
    if target is not None:
        labels[0] = f"{target} minus the others" if data.measure.contrast else f"of {target}"
    with new_figure(7.5, 1.8 + 0.45 * len(frame)) as (figure, axes):
        axes.axvline(0, color=FAINT, lw=1)
        for row, entry in enumerate(frame.itertuples()):
            lost = data.intact - data.controls
            controls = data.control_effects if row == 0 else lost[:, groups == entry.group].mean(axis=1)
            draw_row(axes, row, controls, entry.effect, "vermillion", "D", f"p = {entry.p:.2g}")
        axes.set_yticks(range(len(frame)), labels)
        axes.set(ylim=(len(frame) - 0.4, -0.6), xlabel="log-probability lost per answer token, nats",
                 title=f"Without {data.count} {data.kind}: {data.claim}")  # fmt: skip
        axes.tick_params(axis="y", length=0)
        hide_frame(axes, keep="bottom")
        add_legend(figure, {f"{data.count} {data.kind}": ("vermillion", "D")})
    low, high = np.quantile(data.control_effects, [0.025, 0.975])
    return Plot(
        figure,
        text=f"{data.model} without {data.claim} ({data.count} {data.kind}): {data.measure}: "
        f"{data.effect:.3f} over {len(data.intact)} answers; {data.null} {low:.3f} to {high:.3f} (95 %), "
        f"p = {data.p:.2g}",
    )


def draw_row(axes: Any, row: int, controls: Any, effect: float, colour: str, marker: str, note: str) -> None:
    """Draw the effects of random sets as dots in a row, that of a set as a marker, and a note beside it."""
    shift = 0.3 * (np.arange(len(controls)) * 0.618 % 1 - 0.5)  # spread out, the same every time
    axes.plot(controls, row + shift, ls="", marker=".", ms=4, color=OKABE_ITO["sky"], alpha=0.6)
    axes.plot(effect, row, ls="", marker=marker, ms=8, color=OKABE_ITO[colour], mec=INK)
    axes.annotate(note, (1.01, row), xycoords=("axes fraction", "data"), va="center", fontsize=8.5)


def add_legend(figure: Any, marks: dict[str, tuple[str, str]]) -> None:
    """Add a legend of the random sets and of markers: label to colour and marker."""
    from matplotlib.lines import Line2D

    handles = [Line2D([], [], ls="", marker=".", ms=7, color=OKABE_ITO["sky"], label="matched random sets")]
    handles += [
        Line2D([], [], ls="", marker=marker, ms=7, color=OKABE_ITO[colour], mec=INK, label=label)
        for label, (colour, marker) in marks.items()
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=4, frameon=False, fontsize=9)
